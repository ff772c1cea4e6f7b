"""Servers of a test's own: whatever it kills is nobody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dev.stack import Stack


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """Servers that this test may kill. fsync is on: a database that is killed must come back with what it committed."""
    with Stack(f"faults-{os.getpid()}", ephemeral=True) as stack:
        yield stack
