"""Where a command finds its servers: in the environment, else on the local stack if one is running."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from shared.config import Settings

console = Console(stderr=True, soft_wrap=True, highlight=False)

STACK = "dev"
"""The local stack that `arcadia up` and `arcadia stack` use."""

_SERVERS = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")
_OTHER_NAMES = {"FINANCE_URL": ("SKYAI_FINANCE_URL",)}


def load() -> Settings:
    """The settings. Raises `pydantic.ValidationError`, which names what is missing."""
    from shared.config import Settings

    if len(unnamed(_SERVERS)) == len(_SERVERS):
        use(_of_local_stack())
    return Settings()


def use(servers: Mapping[str, str]) -> None:
    """Name in the environment those of these servers that it does not name."""
    if "DO_API_URL" in unnamed(servers):
        set_finance_aside()
    os.environ.update({name: servers[name] for name in unnamed(servers)})


def unnamed(variables: Iterable[str]) -> list[str]:
    """Those of these variables that the environment does not set, under another name either."""
    return [name for name in variables if not any(os.environ.get(each) for each in _names(name))]


def set_finance_aside() -> None:
    """Forget a finance service that the environment names: what a stand-in for DigitalOcean bills, nobody is to pay."""
    if not unnamed(["FINANCE_URL"]):
        console.print("FINANCE_URL is set aside: no real finance service is told what a DigitalOcean stand-in bills.")
    for name in _names("FINANCE_URL"):
        os.environ.pop(name, None)


def _names(variable: str) -> tuple[str, ...]:
    return (variable, *_OTHER_NAMES.get(variable, ()))


def _of_local_stack() -> dict[str, str]:
    try:
        from dev.stack import Stack
    except ImportError:  # the image for production has no local stack
        return {}
    stack = Stack(STACK)
    return stack.settings if stack.attach() else {}
