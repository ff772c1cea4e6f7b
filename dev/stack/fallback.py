"""Which Kafka serves on this machine, and what stands in where Java with Maven cannot."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from dev.stack.address import HOST
from dev.stack.kafka import (
    AFTER_A_KILL,
    CLUSTER_ID,
    HEAP,
    OLDEST_JAVA,
    SETTINGS,
    ApacheKafka,
    Broker,
    find_java,
    jars,
    kafka_version,
)
from dev.stack.process import Command, Process, run
from dev.stack.server import CHECKOUT

KafkaKind = Literal["apache", "docker", "mock"]

ONLY_A_MOCK = f"""\
NO REAL KAFKA: neither Java {OLDEST_JAVA}+ with Maven nor a running Docker was found.
  Using librdkafka's mock broker: in memory, one member per group, for trying out only.
  For real Apache Kafka: `apt-get install maven` (macOS: `brew install maven`), or start Docker."""


class KafkaInDocker(Broker):
    """The `apache/kafka` image, in a container in the foreground of `docker run`, its data in a named volume."""

    kind = "docker"
    ready_within = 300.0  # the image may have to be pulled

    def __init__(self, home: Path, port: int | None = None, process: Process | None = None) -> None:
        super().__init__(home, port, process)
        self.label = f"Apache Kafka {kafka_version()} in Docker"
        self.volume = f"arcadia-stack-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"
        self.container = home / "container"
        self._may_have_been_killed = False

    def prepare(self) -> None:
        """Forget the id of the last container: Docker insists on writing this file itself."""
        self._may_have_been_killed = self.container.exists()
        self.container.unlink(missing_ok=True)

    def command(self) -> Command:
        """`docker run`: it passes SIGTERM on to the container, which it removes at the end."""
        settings = SETTINGS | (AFTER_A_KILL if self._may_have_been_killed else {})
        settings |= {
            # The broker calls itself, too, and from inside the container the published port is not there.
            "listeners": "CLIENT://:9092,BROKER://:9094,CONTROLLER://:9093",
            "advertised.listeners": f"CLIENT://{self.url},BROKER://localhost:9094",
            "inter.broker.listener.name": "BROKER",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": "1@localhost:9093",
            "log.dirs": "/var/lib/kafka/data",
        }
        return self._docker(
            "run",
            "--rm",
            f"--cidfile={self.container}",
            f"--publish={HOST}:{self.port}:9092",
            f"--volume={self.volume}:/var/lib/kafka/data",
            f"--env=CLUSTER_ID={CLUSTER_ID}",
            f"--env=KAFKA_HEAP_OPTS={' '.join(HEAP)}",
            *(f"--env=KAFKA_{key.upper().replace('.', '_')}={value}" for key, value in settings.items()),
            f"apache/kafka:{kafka_version()}",
        )

    def kill(self) -> None:
        """Kill the container: killing `docker run` alone would leave it running."""
        if self.running and self.container.exists():
            run(self._docker("kill", self.container.read_text()), what="kill Kafka's container")
        super().kill()

    def purge(self) -> None:
        """Remove the container's volume."""
        if self.home.exists():
            run(self._docker("volume", "rm", "--force", self.volume), what=f"remove the volume {self.volume}")
        super().purge()

    def _docker(self, *arguments: str) -> Command:
        return Command(["docker", *arguments], cwd=self.home)


class MockKafka(Broker):
    """librdkafka's mock broker in a process of its own: in memory, for trying out only (see mock_broker)."""

    kind = "mock"
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


KAFKAS: dict[str, type[Broker]] = {"apache": ApacheKafka, "docker": KafkaInDocker, "mock": MockKafka}


def choose_kafka(say: Callable[[str], None]) -> KafkaKind:
    """The best Kafka that this machine can serve; `say` hears what the user has to wait for, or to do without."""
    if find_java() and jars().exists():
        return "apache"
    if find_java() and shutil.which("mvn"):
        say(f"Apache Kafka {kafka_version()}: Maven downloads its jars, once (66 MB)")
        return "apache"
    if _docker_serves():
        return "docker"
    say(ONLY_A_MOCK)
    return "mock"


def _docker_serves() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, check=False, timeout=20).returncode == 0
    except subprocess.TimeoutExpired:
        return False
