"""Keyset paging: a cursor is the last row's id, made opaque. Lists are in the order of their UUIDv7 ids."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from uuid import UUID

from services.gateway.problems import Invalid, invalid

LIMIT = 1000
"""The longest page, and the page of those who ask for none."""


def after(cursor: str | None) -> UUID | None:
    """The id that a cursor stands for; None at the beginning. Raises the problem of a cursor that is none.

    The database makes cursors (`cursor_of` in the migrations): 16 bytes in unpadded base64url.
    """
    if cursor is None:
        return None
    try:
        return UUID(bytes=urlsafe_b64decode(cursor + "=="))
    except (ValueError, binascii.Error):
        raise invalid(Invalid("query", "cursor", "is not a cursor that this API gave as `next`")) from None
