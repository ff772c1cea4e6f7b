"""What the demo plays on: a stack, the services as processes of their own, and a client of the gateway."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dev.demo.screen import Screen
from dev.digitalocean.control import Control
from dev.finance.control import FinanceControl
from dev.stack import Stack, loopback_only
from dev.stack.address import free_port
from dev.stack.fallback import KafkaKind
from dev.tokens import DEVELOPMENT_SECRET, OPERATOR_ROLES, mint
from shared.config import Settings

ZONE = "apps.example.com"
"""Where deployments get their names."""
SPEED = 20
"""How much faster than the real one the provider builds, so that nobody waits for it."""
SERVICES = ("inventory", "deployments", "sagas", "provider", "billing", "metering", "drift", "scheduler", "gateway")
_CHECKOUT = Path(__file__).parents[2]
_READY_S = 60.0
_OPERATION_S = 60.0


class DemoFailed(Exception):
    """The demo cannot go on. The message says why, and where to look."""


@dataclass(frozen=True)
class Stage:
    """Everything the story needs."""

    settings: Settings
    environment: dict[str, str]
    gateway: str
    provider: Control
    finance: FinanceControl
    logs: Path

    @asynccontextmanager
    async def caller(self, tenant: str, email: str, *, operator: bool = False) -> AsyncIterator[Caller]:
        """Somebody with a token, at the gateway."""
        token = mint(tenant, email, OPERATOR_ROLES if operator else ())
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=self.gateway, headers=headers, timeout=30, trust_env=False) as client:
            yield Caller(client)


@dataclass(frozen=True)
class Caller:
    """A client of the gateway that waits for operations which take longer than one answer."""

    client: httpx.AsyncClient

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON of an answer that must be 200."""
        return self._well(await self.client.get(path, params=params))

    async def status(self, path: str) -> int:
        """The status of an answer, whatever it is."""
        return (await self.client.get(path)).status_code

    async def there(self, path: str) -> None:
        """Wait until something that was promised is there."""
        for _ in range(int(_OPERATION_S / 0.1)):
            if await self.status(path) != 404:
                return
            await asyncio.sleep(0.1)
        raise DemoFailed(f"{path} is not there after {_OPERATION_S:.0f} s")

    async def do(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Write; where the answer is an operation, follow it to its end."""
        answer = await self.client.request(method, path, json=body or {})
        if answer.status_code != 202 or "operation" not in answer.json():
            return self._well(answer)
        location = answer.headers["location"]
        for _ in range(int(_OPERATION_S / 0.25)):
            operation = (await self.get(location))["operation"]
            if operation["status"] != "pending":
                return operation["result"]
            await asyncio.sleep(0.25)
        raise DemoFailed(f"{method} {path} had no outcome after {_OPERATION_S:.0f} s: see {location}")

    @staticmethod
    def _well(answer: httpx.Response) -> Any:
        if answer.is_error:
            raise DemoFailed(
                f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}"
            )
        return answer.json()


@asynccontextmanager
async def stage(screen: Screen, *, kafka: KafkaKind | None = None) -> AsyncIterator[Stage]:
    """Start everything; stop and remove it at the end. `kafka`: default, the best there is."""
    stack = Stack("demo", stand_ins=("digitalocean", "finance"), kafka=kafka, ephemeral=True, say=screen.step)
    if any(server.running for server in stack.recorded().values()):
        raise DemoFailed("a demo runs already; end it first (Ctrl-C there, or: arcadia stack stop --name demo)")
    with stack:
        environment = _environment(stack)
        settings = Settings(
            database_url=stack.database_url,
            kafka_bootstrap_servers=[stack.kafka_bootstrap_servers],
            kafka_mock="KAFKA_MOCK" in stack.settings,
        )
        await _migrate(settings)
        screen.step("schemas, roles and tables: up to date")
        run_once(environment, "seed-catalog")
        screen.step("the catalog to begin with is on sale")
        logs = stack.root / ".stack" / "demo-logs"  # beside the stack's own directory, which goes with it
        logs.mkdir(exist_ok=True)
        with services_running(logs, environment):
            gateway = f"http://127.0.0.1:{environment['GATEWAY_PORT']}"
            await gateway_ready(gateway, logs)
            screen.step(f"services: {', '.join(SERVICES)}, a process each; the gateway is {gateway}")
            provider, finance = Control(stack.settings["DO_API_URL"]), FinanceControl(stack.settings["FINANCE_URL"])
            async with provider, finance:
                yield Stage(settings, environment, gateway, provider, finance, logs)


def _environment(stack: Stack) -> dict[str, str]:
    """The services' environment: this stack's addresses, nothing of the machine's own."""
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "DO_API_URL", "FINANCE_URL"):
        loopback_only(stack.settings[name])
    return {
        "PATH": os.environ.get("PATH", ""),
        **stack.settings,
        "DO_API_TOKEN": "dop_v1_demo",
        "DO_RATE_LIMIT": "0",  # so many invoices in a minute are more than the real provider allows
        "PROVISION_DOMAIN": ZONE,
        "PROVISION_REGION": "nyc3",
        "PROVIDER_TIME_SCALE": str(1 / SPEED),
        "JWT_SECRETS": f'["{DEVELOPMENT_SECRET}"]',
        "GATEWAY_PORT": str(free_port()),
        "LOG_FORMAT": "console",
        "LOG_LEVEL": "INFO",
    }


async def _migrate(settings: Settings) -> None:
    from cli.services import migrations
    from shared.migrate import migrate

    await migrate(settings, migrations())


@contextmanager
def services_running(logs: Path, environment: dict[str, str]) -> Iterator[None]:
    """Each service as its own process, its log in `logs`."""
    processes = [_start(name, logs, environment) for name in SERVICES]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def run_once(environment: dict[str, str], *command: str) -> None:
    """Run an `arcadia` command to its end. Raises `DemoFailed` with what it said."""
    arguments = [sys.executable, "-m", "cli.main", *command]
    done = subprocess.run(arguments, cwd=_CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f"arcadia {' '.join(command)} failed: {done.stderr.strip()}")


def _start(name: str, logs: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (logs / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", "run", name],
            cwd=_CHECKOUT,
            env=environment,
            stdout=log,
            stderr=log,
        )


async def gateway_ready(gateway: str, logs: Path) -> None:
    async with httpx.AsyncClient(base_url=gateway, trust_env=False) as client:
        for _ in range(int(_READY_S / 0.2)):
            try:
                if (await client.get("/api/health")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)
    raise DemoFailed(f"the gateway does not answer after {_READY_S:.0f} s; its log is {logs / 'gateway.log'}")
