"""The services there are: every package below `services/` that has an `app.py`.

`services/<name>/app.py` exposes `service`. One that serves more than messages (the gateway: HTTP) also exposes
`beside(settings)`, an asynchronous context manager that is entered with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import Failed

if TYPE_CHECKING:
    from shared.config import Settings
    from shared.service import Service

CHECKOUT = Path(__file__).parents[1]
_SERVICES = CHECKOUT / "services"

Beside = Callable[["Settings"], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True)
class Loaded:
    """A service's code, imported."""

    service: Service[Any]
    beside: Beside | None


def names() -> list[str]:
    """All services, by name."""
    return sorted(app.parent.name for app in _SERVICES.glob("*/app.py"))


def chosen(wanted: Sequence[str]) -> list[str]:
    """The wanted names, each once. Raises `Failed` for one that is no service."""
    unknown = [name for name in wanted if name not in names()]
    if unknown:
        raise Failed(f"no such service: {', '.join(unknown)}\n  There are: {', '.join(names())}")
    return list(dict.fromkeys(wanted))


def migrations() -> dict[str, Path]:
    """Each service's directory of migrations, by schema."""
    return {name: _SERVICES / name / "migrations" for name in names()}


def load(name: str) -> Loaded:
    """Import a service."""
    app = import_module(f"services.{name}.app")
    return Loaded(app.service, getattr(app, "beside", None))
