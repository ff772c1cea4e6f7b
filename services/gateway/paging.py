"""Keyset paging: a cursor is the last row's id, made opaque. Lists are in the order of their UUIDv7 ids."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from uuid import UUID

LIMIT = 1000
"""The longest page, and the page of those who ask for none."""

CURSOR = "^[A-Za-z0-9_-]{22}$"
"""16 bytes in unpadded base64url, as `cursor_of` in the migrations makes them."""


def after(cursor: str | None) -> UUID | None:
    """The id that a cursor stands for; None at the beginning."""
    return None if cursor is None else UUID(bytes=urlsafe_b64decode(cursor + "=="))
