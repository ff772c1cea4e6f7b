"""The local stack as a whole: PostgreSQL, Kafka and the stand-ins, started together and stopped together."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self, cast

from dev.stack import state
from dev.stack.fallback import CHECKOUT, KafkaKind, choose_kafka, kafka_of
from dev.stack.postgres import Postgres
from dev.stack.process import Process, StackError
from dev.stack.server import Server
from dev.stack.stand_in import STAND_INS, StandIn

DIRECTORY = ".stack"


class Stack:
    """A named set of servers below `root/.stack/NAME`; stacks with different names run side by side.

    `start` starts what does not run yet, `stop` stops what this object started. Should this process end
    without `stop`, even by SIGKILL, a warden stops them (see warden.py), unless `leave` was called.
    With `ephemeral`, earlier data are removed before the start and this run's at the end.
    """

    postgres: Postgres
    kafka: Server

    def __init__(
        self,
        name: str = "dev",
        *,
        root: Path = CHECKOUT,
        stand_ins: Sequence[str] = (),
        kafka: KafkaKind | None = None,
        postgres_fsync: bool = True,
        ephemeral: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        if not name.replace("-", "").isalnum():
            raise StackError(f"a stack's name consists of letters, digits and hyphens, unlike {name!r}")
        self.name = name
        self.root = root.resolve()
        self.stand_ins = tuple(stand_ins)
        self.ephemeral = ephemeral
        self._kafka_kind = kafka
        self._fsync = postgres_fsync
        self._say = say
        self._servers: dict[str, Server] = {}
        self._started: list[Server] = []
        self._warden: subprocess.Popen[bytes] | None = None
        self._recording = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def home(self) -> Path:
        """Where this stack's data, logs and state are."""
        return self.root / DIRECTORY / self.name

    @property
    def database_url(self) -> str:
        """The superuser's address of PostgreSQL."""
        return self.postgres.url

    @property
    def kafka_bootstrap_servers(self) -> str:
        """`host:port` of the broker."""
        return self.kafka.url

    @property
    def settings(self) -> dict[str, str]:
        """What a service needs to know of this stack, by the names of its environment variables."""
        found = {"DATABASE_URL": self.database_url, "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers}
        return found | {STAND_INS[name].setting: self._servers[name].url for name in self.stand_ins}

    def start(self) -> None:
        """Start what does not run yet, in parallel, and return when everything answers; harmless when repeated.

        Raises StackError naming the server and the end of its log; what was started before is stopped again.
        """
        try:
            with self._locked():
                self._start_missing()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what this object started."""
        try:
            with self._locked():
                self._stop_started()
        finally:
            # Not under the lock: if this stop was interrupted, the warden takes the lock and finishes it.
            self._dismiss_warden(b"")

    def stop_all(self) -> None:
        """Stop whatever runs of this stack, whoever started it."""
        with self._locked():
            self._find()
            self._started = list(self._servers.values())
            self._stop_started()
        self._dismiss_warden(b"")

    def leave(self) -> None:
        """Let the servers run on after this process; `stop_all`, from any process, ends them."""
        self._started = []
        self._dismiss_warden(b"leave")

    def recorded(self) -> dict[str, state.Recorded]:
        """What is known of this stack's servers, from any process."""
        return state.read(self.home / "state.json")

    def _start_missing(self) -> None:
        self._find()
        missing = [server for server in self._servers.values() if not server.running]
        if self.ephemeral and len(missing) == len(self._servers):
            self._purge()
        self.home.mkdir(parents=True, exist_ok=True)
        self._started += missing
        if missing and not self._warden:
            self._post_warden()
        self._together(self._start_one, self._servers.values())

    def _find(self) -> None:
        """Make the servers' objects: those on record keep their ports and, if they still run, their processes."""
        known = self.recorded()
        if not self._servers:
            self._servers = {
                "postgres": self._postgres(known.get("postgres")),
                "kafka": self._kafka(known.get("kafka")),
            }
            names = dict.fromkeys([*self.stand_ins, *(name for name in known if name in STAND_INS)])
            self._servers |= {
                name: StandIn(name, self.home / name, *_port_and_process(known.get(name))) for name in names
            }
            self.postgres = cast(Postgres, self._servers["postgres"])
            self.kafka = self._servers["kafka"]
        for server in self._servers.values():
            server.changed = self._record

    def _postgres(self, known: state.Recorded | None) -> Postgres:
        return Postgres(self.home / "postgres", *_port_and_process(known), fsync=self._fsync)

    def _kafka(self, known: state.Recorded | None) -> Server:
        cache = self.root / DIRECTORY
        if known and known.running:
            kind = cast(KafkaKind, known.kind)
        else:
            kind = self._kafka_kind or choose_kafka(cache, self._say)
        self._kafka_kind = kind
        return kafka_of(kind, self.home / "kafka", cache, *_port_and_process(known))

    def _start_one(self, server: Server) -> None:
        began = time.monotonic()
        found = server.running
        server.start()
        took = "was running" if found else f"ready after {time.monotonic() - began:.1f} s"
        self._say(f"{server.label}: {took}, {server.url}")
        self._record()

    def _stop_started(self) -> None:
        self._together(lambda server: server.stop(), self._started)
        if self.ephemeral and self._started:
            self._purge()
        self._started = []

    def _together(self, work: Callable[[Server], None], servers: Iterable[Server]) -> None:
        """Do the work for all servers at once; every one is finished before the first error is raised."""
        with ThreadPoolExecutor() as pool:
            done = [pool.submit(work, server) for server in servers]
        for one in done:
            one.result()

    def _purge(self) -> None:
        for server in self._servers.values():
            server.purge()
        shutil.rmtree(self.home, ignore_errors=True)

    def _record(self) -> None:
        with self._recording:
            if self.home.exists():
                state.write(self.home / "state.json", {name: self._entry(one) for name, one in self._servers.items()})

    def _entry(self, server: Server) -> state.Recorded:
        kind = self._kafka_kind if server is self.kafka else None
        return state.Recorded(kind or server.name, server.port, server.url if server.running else "", server.process)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two processes never start or stop the same stack at once."""
        (self.root / DIRECTORY).mkdir(exist_ok=True)
        with (self.root / DIRECTORY / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _post_warden(self) -> None:
        options = ["--ephemeral"] if self.ephemeral else []
        self._warden = subprocess.Popen(
            [sys.executable, "-m", "dev.stack.warden", self.name, self.root, *options],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _dismiss_warden(self, word: bytes) -> None:
        warden, self._warden = self._warden, None
        if warden:
            warden.communicate(word)


def _port_and_process(known: state.Recorded | None) -> tuple[int | None, Process | None]:
    if known is None:
        return None, None
    return known.port, known.process if known.running else None
