"""Which Kafka serves on this machine, and what stands in where Java with Maven cannot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from dev.stack.address import HOST
from dev.stack.kafka import OLDEST_JAVA, SETTINGS, ApacheKafka, Broker, find_java, jars_of, kafka_version
from dev.stack.process import Command, Process, run
from dev.stack.server import Server

CHECKOUT = Path(__file__).parents[2]
KafkaKind = Literal["apache", "docker", "mock"]

ONLY_A_MOCK = f"""\
NO REAL KAFKA: neither Java {OLDEST_JAVA}+ with Maven nor a running Docker was found.
  Using librdkafka's mock broker: in memory, one member per group, for trying out only.
  For real Apache Kafka: `apt-get install maven` (macOS: `brew install maven`), or start Docker."""


class KafkaInDocker(Broker):
    """The `apache/kafka` image, in a container in the foreground of `docker run`, its data in a named volume."""

    def __init__(self, home: Path, port: int | None = None, process: Process | None = None) -> None:
        super().__init__(home, port, process)
        self.label = f"Apache Kafka {kafka_version()} in Docker"
        self.container = f"arcadia-stack-{home.parent.name}-{self.port}"
        self.ready_within = 300.0  # the image may have to be pulled

    def command(self) -> Command:
        """`docker run`: it passes SIGTERM on to the container, which it removes at the end."""
        settings = SETTINGS | {
            "listeners": "CLIENT://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"CLIENT://{self.url}",
            "controller.quorum.voters": "1@localhost:9093",
            "log.dirs": "/var/lib/kafka/data",
        }
        variables = [f"--env=KAFKA_{key.upper().replace('.', '_')}={value}" for key, value in settings.items()]
        return Command(
            [
                "docker",
                "run",
                "--rm",
                f"--name={self.container}",
                f"--publish={HOST}:{self.port}:9092",
                f"--volume={self.container}:/var/lib/kafka/data",
                *variables,
                f"apache/kafka:{kafka_version()}",
            ],
            cwd=self.home,
        )

    def kill(self) -> None:
        """Kill the container: killing `docker run` alone would leave it running."""
        if self.running:
            run(Command(["docker", "kill", self.container], cwd=self.home), what=f"kill {self.container}")
        super().kill()

    def purge(self) -> None:
        """Remove the container's volume."""
        if self.home.exists():
            run(
                Command(["docker", "volume", "rm", "--force", self.container], cwd=self.home),
                what=f"remove the volume {self.container}",
            )
        super().purge()


class MockKafka(Broker):
    """librdkafka's mock broker in a process of its own: in memory, for trying out only (see mock_broker)."""

    label = "a mock broker in memory (NOT Kafka)"

    @property
    def url(self) -> str:
        """The address that the mock chose: it cannot be told one."""
        return self._address.read_text() if self._address.exists() else ""

    @property
    def _address(self) -> Path:
        return self.home / "address"

    def prepare(self) -> None:
        """Forget the address of an earlier run."""
        self._address.unlink(missing_ok=True)

    def command(self) -> Command:
        """The module beside this one, with the same Python."""
        return Command([sys.executable, "-m", "dev.stack.mock_broker", self._address], cwd=CHECKOUT)

    def ready(self) -> bool:
        """Whether it wrote its address and answers there."""
        return bool(self.url) and super().ready()


def choose_kafka(cache: Path, say: Callable[[str], None]) -> KafkaKind:
    """The best Kafka that this machine can serve; `say` hears what is missing if that is the mock."""
    if find_java() and (shutil.which("mvn") or jars_of(cache).exists()):
        return "apache"
    if _docker_serves():
        return "docker"
    say(ONLY_A_MOCK)
    return "mock"


def kafka_of(
    kind: KafkaKind, home: Path, cache: Path, port: int | None = None, process: Process | None = None
) -> Server:
    """A Kafka of the given kind."""
    match kind:
        case "apache":
            return ApacheKafka(home, port, process, jars=cache)
        case "docker":
            return KafkaInDocker(home, port, process)
        case "mock":
            return MockKafka(home, port, process)


def _docker_serves() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, check=False, timeout=20).returncode == 0
    except subprocess.TimeoutExpired:
        return False
