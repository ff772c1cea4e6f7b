"""The services there are: every package below `services/` that has an `app.py`.

`services/<name>/app.py` exposes `service`, its name and handlers. One that serves more than messages (the gateway:
HTTP) also exposes `serving(settings)`, which runs all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cli.errors import Failed

if TYPE_CHECKING:
    from shared.config import Settings
    from shared.process import Part
    from shared.service import Service

CHECKOUT = Path(__file__).parents[1]
_SERVICES = CHECKOUT / "services"


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


def load(name: str) -> Service[Any]:
    """Import a service."""
    service: Service[Any] = _app(name).service
    return service


def part(name: str, settings: Settings) -> AbstractAsyncContextManager[Part]:
    """A service at work, as an asynchronous context manager."""
    from shared.process import running

    app = _app(name)
    found: AbstractAsyncContextManager[Part] = (
        app.serving(settings) if hasattr(app, "serving") else running(app.service, settings)
    )
    return found


def _app(name: str) -> ModuleType:
    return import_module(f"services.{name}.app")
