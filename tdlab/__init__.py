"""A laboratory for the training dynamics of small transformers: predictions beside measurements."""

from tdlab.machine import prepare

prepare()
