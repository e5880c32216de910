"""Prompts of the modules that are written here."""

import pytest
import torch


@pytest.fixture
def x():
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(7))  # b n d
