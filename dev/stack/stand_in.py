"""The stand-ins for what the product talks to outside: Python modules of this project that serve HTTP."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from dev.stack.address import HOST
from dev.stack.process import Command, Process
from dev.stack.server import CHECKOUT, Server


@dataclass(frozen=True)
class StandInKind:
    """A module started as `python -m MODULE --port N`, ready when `GET /healthz` answers 200."""

    label: str
    module: str
    setting: str
    options: tuple[str, ...] = ()


STAND_INS = {
    "digitalocean": StandInKind("the DigitalOcean stand-in", "dev.digitalocean", "DO_API_URL", ("--others", "100")),
    "finance": StandInKind("the finance stand-in", "dev.finance", "FINANCE_URL"),
}


class StandIn(Server):
    """One of STAND_INS; its state is in memory and ends with it."""

    def __init__(self, name: str, home: Path, port: int | None = None, process: Process | None = None) -> None:
        super().__init__(home, port, process)
        self.name = name
        self.kind = name
        self.label = STAND_INS[name].label

    @property
    def url(self) -> str:
        """The base of its HTTP interface."""
        return f"http://{HOST}:{self.port}"

    def command(self) -> Command:
        """The module, with the same Python."""
        kind = STAND_INS[self.name]
        return Command([sys.executable, "-m", kind.module, "--port", str(self.port), *kind.options], cwd=CHECKOUT)

    def ready(self) -> bool:
        """Whether its health check answers 200."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False
