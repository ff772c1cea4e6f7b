"""What is asked of the provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Call:
    """One thing asked of the provider: `route` is the template of `path`, and is what metrics and traces show."""

    method: str
    route: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = field(default=None, repr=False)  # may hold a droplet's user data

    @classmethod
    def of(
        cls, method: str, route: str, params: Mapping[str, str] | None = None, json: Any = None, **ids: object
    ) -> Self:
        """A call to `route` with `ids` in the place of its `{names}`, quoted: no id can lead to another path.

        Raises `ValueError` for an id that is empty, `.` or `..`: URLs are shortened by those, quoted or not.
        """
        if odd := [name for name, value in ids.items() if str(value) in {"", ".", ".."}]:
            raise ValueError(f"{route}: {', '.join(odd)} is no id")
        path = route.format(**{name: quote(str(value), safe="") for name, value in ids.items()})
        return cls(method, route, path, params or {}, json)

    @property
    def writes(self) -> bool:
        """True where asking twice may act twice."""
        return self.method not in {"GET", "HEAD"}

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
