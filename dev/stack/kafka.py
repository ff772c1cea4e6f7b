"""Apache Kafka, as a single node with KRaft: its own jars on this machine's Java, or its container image.

Why this version, and why by Maven: docs/decisions/0002-apache-kafka-by-maven.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import subprocess
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dev.stack.address import HOST, free_port
from dev.stack.process import Command, Process, StackError, run
from dev.stack.server import CHECKOUT, Server

HERE = CHECKOUT / "dev" / "kafka"
POM = HERE / "pom.xml"
OLDEST_JAVA = 17
HEAP = ("-Xms128m", "-Xmx512m")
# Compiling with C1 only and the serial collector: ready in 2.0 s instead of 3.2 s on two cores.
JVM = (*HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
PROPERTIES = "server.properties"
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
CLUSTER_ID = "arcadia-local-stack--A"
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "inter.broker.listener.name": "CLIENT",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 4,
    "group.initial.rebalance.delay.ms": 0,
    # Tests kill consumers and want their partitions reassigned within a second or two (default 6000).
    "group.min.session.timeout.ms": 1000,
    # On a busy machine heartbeats may be seconds late, and a broker that is fenced leads nothing (default 9000).
    "broker.session.timeout.ms": 60_000,
    "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
}

# After a SIGKILL the controller waits for the old registration to expire (by default: a start of 12 s).
AFTER_A_KILL = {"broker.session.timeout.ms": 1500, "broker.heartbeat.interval.ms": 300}


class Broker(Server):
    """What the Kafkas of the stack have in common: they are ready when they answer a metadata request."""

    name = "kafka"

    @property
    def url(self) -> str:
        """The value for `bootstrap.servers`."""
        return f"{HOST}:{self.port}"

    def ready(self) -> bool:
        """Whether the broker names itself in an answer to a metadata request."""
        admin = AdminClient({"bootstrap.servers": self.url, "reconnect.backoff.max.ms": 100}, logger=_silent())
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False


class ApacheKafka(Broker):
    """Apache Kafka's jars on this machine's Java: the real thing, and what tests run on."""

    kind = "apache"

    def __init__(self, home: Path, port: int | None = None, process: Process | None = None) -> None:
        super().__init__(home, port, process)
        self.label = f"Apache Kafka {kafka_version()}"
        self.data = home / "data"

    def prepare(self) -> None:
        """Fetch the jars if need be, write the configuration, and format the data directory unless it is."""
        fetch_jars()
        # Relative to the working directory: a path may hold what has a meaning in a properties file.
        was_killed = self.data.exists() and not (self.data / CLEAN_SHUTDOWN).exists()
        settings = SETTINGS | (AFTER_A_KILL if was_killed else {}) | self._addresses() | {"log.dirs": self.data.name}
        lines = (f"{key}={value}\n" for key, value in settings.items())
        (self.home / PROPERTIES).write_text("".join(lines))
        if not (self.data / "meta.properties").exists():
            shutil.rmtree(self.data, ignore_errors=True)
            format_it = ("kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", PROPERTIES)
            run(self._java(*format_it), what="format Kafka's data directory")

    def command(self) -> Command:
        """The broker and its controller in one JVM."""
        return self._java("kafka.Kafka", PROPERTIES)

    def _java(self, *arguments: str) -> Command:
        java = find_java()
        if java is None:
            raise StackError(f"Java {OLDEST_JAVA} or newer is needed; install it (Debian: `apt-get install maven`)")
        # log4j finds its log4j2.xml in the first directory of the class path.
        return Command([java, *JVM, "-cp", f"{HERE}:{jars()}/*", *arguments], cwd=self.home)

    def _addresses(self) -> dict[str, str]:
        # Only the node itself talks to its controller: that port may differ at every start.
        controller = f"{HOST}:{free_port()}"
        return {
            "listeners": f"CLIENT://{self.url},CONTROLLER://{controller}",
            "advertised.listeners": f"CLIENT://{self.url}",
            "controller.quorum.voters": f"1@{controller}",
        }


def fetch_jars() -> None:
    """Have Maven download Kafka and what it needs, once per content of the pom."""
    target = jars()
    target.parent.mkdir(exist_ok=True)
    with target.with_name("kafka-jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            fresh = target.with_suffix(".downloading")
            shutil.rmtree(fresh, ignore_errors=True)
            _maven("dependency:copy-dependencies", f"-DoutputDirectory={fresh}")
            fresh.rename(target)


def jars() -> Path:
    """Where the jars of the pom as it is now are kept, for all stacks of this checkout."""
    return CHECKOUT / ".stack" / f"kafka-jars-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"


def kafka_version() -> str:
    """The release that the pom pins."""
    found = re.search(r"<kafka.version>(.+)</kafka.version>", POM.read_text())
    if not found:
        raise StackError(f"{POM} does not name a kafka.version")
    return found[1]


def find_java() -> str | None:
    """The path of a new enough Java, from JAVA_HOME or the PATH."""
    home = os.environ.get("JAVA_HOME")
    for candidate in (home and f"{home}/bin/java", shutil.which("java")):
        if candidate and _java_version(candidate) >= OLDEST_JAVA:
            return candidate
    return None


def _java_version(java: str) -> int:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30).stderr
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


def _maven(*goals: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            "Kafka's jars are not downloaded yet, and there is no Maven; install it (Debian: "
            "`apt-get install maven`, macOS: `brew install maven`)"
        )
    # The caller's own settings for Maven (proxies, mirrors, heap) are honoured, and a checksum must match.
    chosen = {name: value for name, value in os.environ.items() if name.startswith(("MAVEN_", "JAVA_"))}
    run(
        Command([maven, "-q", "-B", "-C", "-f", POM, *goals], cwd=HERE, env=chosen),
        what="download Apache Kafka with Maven (is the network there?)",
        seconds=900,
    )


def _silent() -> logging.Logger:
    logger = logging.getLogger("dev.stack.kafka.librdkafka")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
