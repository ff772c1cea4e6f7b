"""Keyset paging: a cursor is the last row's id, made opaque. Lists are in the order of their UUIDv7 ids."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from uuid import UUID

LIMIT = 1000
"""The longest page, and the page of those who ask for none."""

CURSOR = "^[A-Za-z0-9_-]{22}$"
"""16 bytes in unpadded base64url, as `cursor_of` in the migrations makes them."""


LINE_CURSOR = "^[A-Za-z0-9_-]{27}$"
"""20 bytes: of lines, whose place is that of their invoice and a number of 32 bits."""


def after(cursor: str | None) -> UUID | None:
    """The id that a cursor stands for; None at the beginning."""
    return None if cursor is None else UUID(bytes=urlsafe_b64decode(cursor + "=="))


def after_line(cursor: str | None) -> tuple[UUID, int]:
    """The invoice and the line that a cursor stands for; before all of them at the beginning."""
    place = bytes(20) if cursor is None else urlsafe_b64decode(cursor + "=")
    return UUID(bytes=place[:16]), int.from_bytes(place[16:], signed=True)
