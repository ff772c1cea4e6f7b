"""What all servers of the stack have in common: started once, watched until ready, stopped or killed."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dev.stack.address import free_port, port_is_free
from dev.stack.process import Command, Process, StackError, spawn, tail, wait_until

CHECKOUT = Path(__file__).parents[2]


class Server:
    """A server of the stack, on a port of the loopback interface, with its data and its log in `home`.

    A subclass says how to `prepare` the data, which `command` to run, and when it is `ready`. Starting again
    after `stop` or `kill` uses the same port and the same data.
    """

    name: str
    kind: str
    label: str
    stop_signal: int = signal.SIGTERM
    ready_within: float = 120.0
    stop_within: float = 30.0

    def __init__(self, home: Path, port: int | None = None, process: Process | None = None) -> None:
        self.home = home
        self.port = port or free_port()
        self.process = process
        self.changed: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        """Where clients find the server."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what the command needs to be there; harmless when it is."""

    def command(self) -> Command:
        """What to run."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether the server answers a real request."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether the server's process lives (it may not be ready yet)."""
        return self.process is not None and self.process.alive()

    @property
    def log(self) -> Path:
        """Where the server's output is kept."""
        return self.home / f"{self.name}.log"

    def start(self) -> None:
        """Start the server unless it runs, and wait until it is ready. Raises StackError with the log's end."""
        if not self.running:
            self.home.mkdir(parents=True, exist_ok=True)
            self._await_port()
            self.prepare()
            self.process = spawn(self.command(), self.log)
            self.changed()
        self._await_ready()

    def stop(self) -> None:
        """Stop the server in an orderly way; harmless when it does not run."""
        if self.process is None:
            return
        self.process.signal(self.stop_signal)
        self.process.signal(signal.SIGCONT)  # a test may have frozen it
        if self.process.wait(self.stop_within):
            self._gone()
        else:
            self.kill()

    def kill(self) -> None:
        """End the server by SIGKILL: nothing is flushed, nobody is told."""
        if self.process is not None:
            self.process.kill()
            self._gone()

    def restart(self) -> None:
        """Stop, then start again on the same port and data."""
        self.stop()
        self.start()

    def purge(self) -> None:
        """Remove the server's data and log; the server must not run."""
        shutil.rmtree(self.home, ignore_errors=True)

    def _gone(self) -> None:
        self.process = None
        self.changed()

    def _await_port(self) -> None:
        # After a SIGKILL the kernel may still be closing the old listener.
        if not wait_until(lambda: port_is_free(self.port), 10):
            raise StackError(f"{self.label}: port {self.port} was taken by another program; stop that, or the stack")

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self.ready_within
        while not self.ready():
            if not self.running:
                raise StackError(f"{self.label} ended while starting; the end of {self.log}:\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.label} was not ready after {self.ready_within:.0f} s; "
                    f"the end of {self.log}:\n{tail(self.log)}"
                )
            time.sleep(0.02)
