"""What a benchmark says, and the machine on which it was said."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measured number beside its peer or limit, from the same run.

    `ratio` is ours / peer. `bar` is what it must reach: at least, or at most, by `better`.
    """

    name: str
    ours: float
    peer: float
    unit: str
    bar: float
    better: Literal["higher", "lower"]
    peer_is: str

    @property
    def ratio(self) -> float:
        return self.ours / self.peer if self.peer else float("inf")

    @property
    def met(self) -> bool:
        return self.ratio >= self.bar if self.better == "higher" else self.ratio <= self.bar

    def as_dict(self) -> dict[str, Any]:
        """The figure as JSON, rounded to what the measurement can tell."""
        rounded = {"ours": _three(self.ours), "peer": _three(self.peer), "ratio": _three(self.ratio)}
        return asdict(self) | rounded | {"met": self.met}


@dataclass(frozen=True)
class Report:
    """A benchmark's figures."""

    name: str
    what: str
    figures: list[Figure]
    notes: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """One JSON object: figures, notes, machine and time."""
        return {
            "name": self.name,
            "what": self.what,
            "figures": [figure.as_dict() for figure in self.figures],
            "notes": self.notes,
            "met": all(figure.met for figure in self.figures),
            "machine": machine(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def machine() -> dict[str, Any]:
    """Where this runs: figures of different machines cannot be compared, ratios of one run can."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def middle(rounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Of rounds (ours, theirs) the one whose ratio is the median: the two of a round met the same machine."""
    return sorted(rounds, key=lambda pair: pair[0] / pair[1])[len(rounds) // 2]


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _three(value: float) -> float:
    return float(f"{value:.3g}") if value < 1000 else round(value)
