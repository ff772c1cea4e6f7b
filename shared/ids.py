"""Identifiers: time-ordered for what is new, derived for what must come out the same twice."""

from __future__ import annotations

import os
import time
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f1d7f0c-5d0a-5b4e-9a3e-0c1f2a9d4e55")


def uuid7() -> UUID:
    """A new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits (RFC 9562, section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    return UUID(int=value & ~(0xF000 << 64) & ~(0xC000 << 48) | 0x7000 << 64 | 0x8000 << 48)


def derived_id(*parts: object) -> UUID:
    """The UUIDv5 of the parts: the same parts give the same id, anywhere and at any time."""
    return uuid5(_NAMESPACE, "\x1f".join(str(part) for part in parts))
