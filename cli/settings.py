"""Where a command finds its servers: in the environment, else on the local stack if one is running."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.config import Settings

STACK = "dev"
"""The local stack that `arcadia up` and `arcadia stack` use."""

_SERVERS = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")


def load() -> Settings:
    """The settings. Raises `pydantic.ValidationError`, which names what is missing."""
    from shared.config import Settings

    if not any(os.environ.get(name) for name in _SERVERS):
        os.environ.update({name: value for name, value in _of_local_stack().items() if not os.environ.get(name)})
    return Settings()


def _of_local_stack() -> dict[str, str]:
    try:
        from dev.stack import Stack
    except ImportError:  # the image for production has no local stack
        return {}
    stack = Stack(STACK)
    return stack.settings if stack.attach() else {}
