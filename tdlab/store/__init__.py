"""Runs under their ids: on disk, where they outlive the process, or in memory."""

from tdlab.store.disk import Disk
from tdlab.store.memory import Memory
from tdlab.store.store import Store

__all__ = ["Disk", "Memory", "Store"]
