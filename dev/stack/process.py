"""Operating-system processes that outlive the call that started them, and are known again later."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# Everything a server of the stack may know of the caller's environment. Notably absent: DATABASE_URL,
# PG*, KAFKA_*, DO_*, SPACES_* and FINANCE_URL, which may name something real.
DOCKER = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "JAVA_HOME", *DOCKER)

_children: dict[int, subprocess.Popen[bytes]] = {}


class StackError(Exception):
    """The local stack cannot do what was asked; the message says what happened and what to do."""


@dataclass(frozen=True)
class Account:
    """A system user that a server runs as; None everywhere means the user who started the stack."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Command:
    """What to execute, and as whom."""

    argv: Sequence[str | Path]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None


@dataclass(frozen=True)
class Process:
    """One process of this machine: a pid alone may since have been given to another one.

    `started` is in seconds after boot: unlike a time of day, it does not move when the clock is set.
    """

    pid: int
    started: float

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        try:
            if abs(_started(self.pid) - self.started) >= 2:
                return False
            child = _children.get(self.pid)
            if child is None:
                return _status(self.pid) != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        # A process with threads looks like a zombie before the last of them has ended: only the kernel's word counts.
        if child.poll() is None:
            return True
        _children.pop(self.pid, None)
        return False

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process is gone."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process; False when it still runs after so many seconds."""
        return wait_until(lambda: not self.alive(), seconds)

    def kill(self) -> None:
        """SIGKILL the process and its descendants, such as Postgres's backends, and wait until all are gone."""
        self.signal(signal.SIGSTOP)  # from here on it has no further children
        family = [*self.descendants(), self]
        for member in family:
            member.signal(signal.SIGKILL)
        if not all(member.wait(30) for member in family):
            raise StackError(f"process {self.pid} does not end although it was killed; see `ps -p {self.pid}`")

    def descendants(self) -> list[Process]:
        """The processes that this one started, and theirs."""
        try:
            found = psutil.Process(self.pid).children(recursive=True) if self.alive() else []
            return [Process(one.pid, _started(one.pid)) for one in found]
        except psutil.NoSuchProcess:
            return []


def spawn(command: Command, log: Path) -> Process:
    """Start a process in a session of its own, its output appended to `log`.

    Its own session keeps a Ctrl-C in the terminal from reaching it: the stack decides the order of the end.
    """
    account = command.account
    with log.open("ab") as output:
        child = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=_environment() | dict(command.env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    _children[child.pid] = child
    return Process(child.pid, _started(child.pid))


def run(command: Command, *, what: str, seconds: float = 120) -> str:
    """Run a command to its end and return what it printed.

    Raises StackError with its last lines when it fails; `what` completes the sentence "could not ...".
    """
    account = command.account
    try:
        done = subprocess.run(
            command.argv,
            cwd=command.cwd,
            env=_environment() | dict(command.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"could not {what}: no end after {seconds:.0f} s of {command.argv[0]}") from error
    if done.returncode:
        raise StackError(f"could not {what}: {command.argv[0]} says\n{_last_lines(done.stdout)}")
    return str(done.stdout)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again, for so many seconds at most."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    return _last_lines(log.read_text(errors="replace")) if log.exists() else "(nothing was logged)"


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join("  " + line for line in text.rstrip().splitlines()[-count:])


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C.UTF-8"}


def _started(pid: int) -> float:
    return psutil.Process(pid).create_time() - psutil.boot_time()


def _status(pid: int) -> str:
    return str(psutil.Process(pid).status())
