"""The local stack as a whole: PostgreSQL, Kafka and the stand-ins, started together and stopped together."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Self

from dev.stack import state
from dev.stack.address import HOST, port_is_free
from dev.stack.fallback import KAFKAS, KafkaKind, choose_kafka
from dev.stack.kafka import Broker
from dev.stack.postgres import Postgres
from dev.stack.process import Process, StackError
from dev.stack.server import CHECKOUT, Server
from dev.stack.stand_in import STAND_INS, StandIn


class Stack:
    """A named set of servers below `root/.stack/NAME`; stacks with different names run side by side.

    `start` starts what does not run yet, `stop` stops what this object started. Should this process end
    without `stop`, even by SIGKILL, a warden stops them (see warden.py), unless `leave` was called.
    With `ephemeral`, earlier data are removed before the start and this run's at the end. `say` hears of
    progress, a line at a time, from several threads.
    """

    postgres: Postgres
    kafka: Broker

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
        self.home = root.resolve() / ".stack" / name
        self.root = root.resolve()
        self.ephemeral = ephemeral
        self._stand_ins = tuple(stand_ins)
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
        stand_ins = {STAND_INS[name].setting: one.url for name, one in self._servers.items() if name in STAND_INS}
        kafka = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers}
        if self.kafka.kind == "mock":
            kafka["KAFKA_MOCK"] = "true"
        return {"DATABASE_URL": self.database_url, **kafka, **stand_ins}

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
        word = b""  # should this be interrupted, the warden finishes it
        try:
            with self._locked():
                self._stop_started()
            word = b"stopped"
        finally:
            self._dismiss_warden(word)

    def attach(self) -> bool:
        """Make the stack on record known to this object, without starting anything; False unless all of it runs."""
        known = self.recorded()
        if known and all(server.running for server in known.values()):
            self._assemble(known)
        return bool(self._servers)

    def stop_all(self, names: Sequence[str] = ()) -> None:
        """Stop whatever runs of this stack, or the servers of these names, whoever started them."""
        with self._locked():
            self._assemble(self.recorded())
        self._started = [server for name, server in self._servers.items() if not names or name in names]
        self.stop()

    def remove(self) -> None:
        """Stop whatever runs of this stack and remove its data, whoever started it."""
        self.ephemeral = True
        self.stop_all()

    def leave(self) -> None:
        """Let the servers run on after this process; `stop_all`, from any process, ends them."""
        self._started = []
        self._dismiss_warden(b"leave")

    def recorded(self) -> dict[str, state.Recorded]:
        """What is known of this stack's servers, by name, from any process."""
        return state.read(self.home / "state.json")

    def _start_missing(self) -> None:
        if not self._servers:
            self._kafka_kind = self._kafka_kind or choose_kafka(self._say)
            self._assemble(self.recorded())
        missing = [server for server in self._servers.values() if not server.running]
        if self.ephemeral and len(missing) == len(self._servers):
            self._purge()
        self.home.mkdir(parents=True, exist_ok=True)
        if missing:
            self._started = list(dict.fromkeys([*self._started, *missing]))
            self._dismiss_warden(b"replaced")
            self._post_warden()
        self._together(self._start_one, self._servers.values())

    def _start_one(self, server: Server) -> None:
        began = time.monotonic()
        found = server.running
        server.start()
        took = "was running" if found else f"ready after {time.monotonic() - began:.1f} s"
        self._say(f"{server.label}: {took}, {HOST}:{server.port}")
        self._record(server)  # the mock broker knows its address only now

    def _stop_started(self) -> None:
        self._together(lambda server: server.stop(), self._started)
        if self.ephemeral and not any(server.running for server in self._servers.values()):
            self._purge()
            self._lock_file.unlink(missing_ok=True)
        self._started = []

    def _together(self, work: Callable[[Server], None], servers: Iterable[Server]) -> None:
        """Do the work for all servers at once; every one is finished before the first error is raised."""
        with ThreadPoolExecutor() as pool:
            done = [pool.submit(work, server) for server in servers]
        for one in done:
            one.result()

    def _assemble(self, known: Mapping[str, state.Recorded]) -> None:
        """Make the servers' objects; those on record keep their port, and their process if it still runs."""
        self.postgres = Postgres(self.home / "postgres", *_place(known.get("postgres")), fsync=self._fsync)
        self.kafka = self._the_kafka(known.get("kafka"))
        self._servers = {"postgres": self.postgres, "kafka": self.kafka}
        running = (name for name, one in known.items() if name in STAND_INS and one.running)
        for name in dict.fromkeys([*self._stand_ins, *running]):
            self._servers[name] = StandIn(name, self.home / name, *_place(known.get(name)))
        for server in self._servers.values():
            server.changed = partial(self._record, server)

    def _the_kafka(self, known: state.Recorded | None) -> Broker:
        kind = known.kind if known and (known.running or not self._kafka_kind) else self._kafka_kind or "apache"
        return KAFKAS[kind](self.home / "kafka", *_place(known))

    def _purge(self) -> None:
        for server in self._servers.values():
            server.purge()
        shutil.rmtree(self.home, ignore_errors=True)

    def _record(self, server: Server) -> None:
        url = server.url if server.running else ""
        with self._recording:
            if self.home.exists():
                entry = state.Recorded(server.kind, server.port, url, server.process)
                state.write(self.home / "state.json", {**self.recorded(), server.name: entry})

    @property
    def _lock_file(self) -> Path:
        return self.home.with_name(f"{self.name}.lock")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two processes never start or stop the same stack at once."""
        try:
            self.home.parent.mkdir(exist_ok=True)
            lock = self._take_lock()
        except PermissionError as error:
            raise StackError(f"{error.filename} belongs to another user: work as that user, or remove it") from error
        with lock:
            yield

    def _take_lock(self) -> IO[str]:
        while True:
            lock = self._lock_file.open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Whoever held it may have removed the stack and the lock's file with it.
            with suppress(FileNotFoundError):
                if os.path.samestat(self._lock_file.stat(), os.fstat(lock.fileno())):
                    return lock
            lock.close()

    def _post_warden(self) -> None:
        options = ["--ephemeral"] if self.ephemeral else []
        names = [server.name for server in self._started]
        self._warden = subprocess.Popen(
            [sys.executable, "-m", "dev.stack.warden", self.name, self.root, *options, *names],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _dismiss_warden(self, word: bytes) -> None:
        warden, self._warden = self._warden, None
        if warden:
            warden.communicate(word)


def _place(known: state.Recorded | None) -> tuple[int | None, Process | None]:
    """The port to use again and the process, if it still runs. A port that another program took is given up."""
    if known is None:
        return None, None
    if known.running:
        return known.port, known.process
    return (known.port if port_is_free(known.port) else None), None
