"""An installation that operators' commands look at: all services in one process, as `arcadia up` runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from cli.main import main
from dev.digitalocean.running import RunningStandIn, running_stand_in
from dev.finance.running import RunningFinance, running_finance
from dev.stack import Stack, free_port
from dev.tokens import DEVELOPMENT_SECRET, OPERATOR_ROLES, mint
from shared.config import Settings
from tests.conftest import new_database, settings_for

CHECKOUT = Path(__file__).parents[2]
FLEET = 7


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """Runs `arcadia` in an environment that holds these variables and nothing of the machine's own."""

    variables: dict[str, str]

    def __call__(self, *arguments: str) -> Said:
        """Run a command in this process, which is quick, and to files, which are real outputs."""
        kept, sys.argv = (sys.argv, dict(os.environ)), ["arcadia", *arguments]
        os.environ.clear()
        os.environ.update(self.variables)
        code: object = 0
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err, redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = end.code
            finally:
                sys.argv, environment = kept
                os.environ.clear()
                os.environ.update(environment)
            said = [file.seek(0) or file.read() for file in (out, err)]
        return Said(code if isinstance(code, int) else 0, *map(str, said))

    def apart(self, *arguments: str, seconds: float = 60) -> Said:
        """Run a command in a process of its own, to its end."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=seconds)
            return Said(process.returncode, out, err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command whose output is read while it runs."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=CHECKOUT,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "cli.main", *arguments]


def shell_for(settings: Settings, **more: str) -> Shell:
    """A shell in which an installation is named."""
    return Shell(
        {
            "PATH": os.environ["PATH"],
            "TZ": "UTC",
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
            "KAFKA_PREFIX": settings.kafka_prefix,
            **more,
        }
    )


@dataclass(frozen=True)
class Installation:
    """All services at work, with a fleet that was synced once."""

    settings: Settings
    arcadia: Shell
    gateway: str
    log: Path

    async def produce(self, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write to a topic past all services."""
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        try:
            for key, value in records:
                await producer.send_and_wait(self.settings.kafka_prefix + topic, value, key=key)
        finally:
            await producer.stop()


@pytest.fixture(scope="session")
async def lasting_database(stack: Stack) -> str:
    """A database for the whole session."""
    return await new_database(stack)


@pytest.fixture(scope="session")
def provider() -> Iterator[RunningStandIn]:
    """A stand-in for DigitalOcean with a small fleet."""
    with running_stand_in(droplets=FLEET, projects=2, rate_minute=0, rate_hour=0) as running:
        yield running


@pytest.fixture(scope="package")
def finance() -> Iterator[RunningFinance]:
    """A stand-in for the finance service."""
    with running_finance() as running:
        yield running


@pytest.fixture(scope="package")
def installation(
    stack: Stack,
    lasting_database: str,
    provider: RunningStandIn,
    finance: RunningFinance,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """`arcadia up` on servers that the environment names, for the tests of this folder."""
    settings, port = settings_for(stack, lasting_database), free_port()
    log = tmp_path_factory.mktemp("cli") / "up.log"
    arcadia = shell_for(
        settings,
        DO_API_URL=provider.url,
        DO_API_TOKEN=provider.token,
        FINANCE_URL=finance.url,
        JWT_SECRETS=json.dumps([DEVELOPMENT_SECRET]),
        GATEWAY_PORT=str(port),
        LOG_LEVEL="WARNING",
    )
    with log.open("w") as file:
        process = subprocess.Popen(arcadia.command("up"), cwd=CHECKOUT, env=arcadia.variables, stdout=file, stderr=file)
    try:
        found = Installation(settings, arcadia, f"http://127.0.0.1:{port}", log)
        _sync(found)
        yield found
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()


def _sync(installation: Installation) -> None:
    """Sync everything, once the gateway answers. Raises AssertionError with the log where that does not come about."""
    token = mint("platform", "operator@arcadia.example", OPERATOR_ROLES)
    with httpx.Client(
        base_url=installation.gateway, headers={"authorization": f"Bearer {token}"}, trust_env=False
    ) as client:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                answer = client.post(
                    "/api/v1/inventory/sync", json={}, timeout=30, headers={"idempotency-key": "first"}
                )
                if answer.status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.3)
    raise AssertionError(installation.log.read_text())


@pytest.fixture
def arcadia(installation: Installation) -> Shell:
    """The command line, at the installation."""
    return installation.arcadia
