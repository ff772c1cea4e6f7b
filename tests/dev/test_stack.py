"""The local stack as a whole: stopped by whoever started it, known again later, and in touch with nothing real."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from dev.stack import Stack, StackError, free_port, loopback_only, state
from dev.stack.address import PORTS, port_is_free
from dev.stack.process import Process, wait_until
from dev.stack.stand_in import STAND_INS

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Stack]:
    """A stack for tests about the stack itself: its broker is the mock, which starts at once."""
    stack = Stack("quick", root=tmp_path, kafka="mock", postgres_fsync=False)
    yield stack
    stack.remove()


def test_what_names_a_real_server_in_the_environment_reaches_no_server(
    quick: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "DO_API_TOKEN", "DO_API_URL", "FINANCE_URL")
    for name in (*ours, "PGHOST", "PGPORT"):
        monkeypatch.setenv(name, "elsewhere.example")
    quick.start()
    for address in (quick.database_url, quick.kafka_bootstrap_servers):
        loopback_only(address)
    for server in (quick.postgres, quick.kafka):
        assert server.process is not None
        assert "elsewhere.example" not in psutil.Process(server.process.pid).environ().values()


def test_a_second_program_uses_the_running_servers_and_leaves_them_running(quick: Stack, tmp_path: Path) -> None:
    quick.start()
    second = Stack("quick", root=tmp_path, kafka="mock")
    assert second.attach()
    assert second.settings == quick.settings
    second.start()
    second.stop()
    assert quick.postgres.running
    assert quick.kafka.running

    quick.stop()
    assert not any(server.running for server in second.recorded().values())
    assert not Stack("quick", root=tmp_path).attach()


def test_stacks_of_different_names_run_side_by_side(quick: Stack, tmp_path: Path) -> None:
    quick.start()
    with Stack("other", root=tmp_path, kafka="mock", postgres_fsync=False, ephemeral=True) as other:
        assert other.database_url != quick.database_url
        assert other.kafka_bootstrap_servers != quick.kafka_bootstrap_servers
    assert quick.postgres.running
    assert not other.home.exists()


def test_a_stack_started_again_has_its_data_ports_and_password(quick: Stack, tmp_path: Path) -> None:
    quick.start()
    address = quick.database_url
    quick.stop()
    with Stack("quick", root=tmp_path, kafka="mock", postgres_fsync=False) as again:
        assert again.database_url == address


def test_the_state_is_readable_by_its_owner_only_and_holds_no_dead_process(quick: Stack) -> None:
    quick.start()
    file = quick.home / "state.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(quick.recorded()) == {"postgres", "kafka"}
    assert quick.recorded()["postgres"].url == quick.database_url
    quick.stop()
    assert [server.process for server in quick.recorded().values()] == [None, None]


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_the_server(quick: Stack) -> None:
    quick.start()
    recorded = quick.recorded()["postgres"]
    assert recorded.process is not None
    quick.stop()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        # What a state looks like after a power cut, when the pid has been given away since.
        stale = replace(recorded, process=Process(bystander.pid, recorded.process.started - 100))
        state.write(quick.home / "state.json", quick.recorded() | {"postgres": stale})
        assert not quick.recorded()["postgres"].running

        again = Stack("quick", root=quick.root, kafka="mock", postgres_fsync=False)
        again.start()
        assert again.postgres.running
        again.stop_all()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_damaged_state_is_reported_and_not_overwritten(quick: Stack) -> None:
    quick.home.mkdir(parents=True)
    file = quick.home / "state.json"
    file.write_text('{"servers": {"postgres": {"pid": 1}}}')
    with pytest.raises(StackError, match=r"state\.json is damaged"):
        quick.start()
    assert "pid" in file.read_text()
    file.unlink()


def test_a_server_that_cannot_start_is_reported_with_its_log_and_the_others_are_stopped(quick: Stack) -> None:
    quick.start()
    quick.stop()
    (quick.postgres.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(
        StackError, match=r"PostgreSQL 18 ended while starting(.|\n)*initialized by PostgreSQL version 9"
    ):
        quick.start()
    assert not quick.kafka.running


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_program_started_ends_with_it_however_it_ends(tmp_path: Path, end: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "dev.stack", "--name", "orphan", "--kafka", "mock", "--ephemeral", "--root", tmp_path],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert program.stdout is not None
    try:
        while "Ctrl-C" not in program.stdout.readline():
            assert program.poll() is None
        orphan = Stack("orphan", root=tmp_path)
        processes = [server.process for server in orphan.recorded().values() if server.process]
        assert len(processes) == 2 + len(STAND_INS)
        program.send_signal(end)
        program.wait(20)
        assert all(process.wait(20) for process in processes)
        assert wait_until(lambda: not orphan.home.exists(), 10)
        assert ("what started it is gone" in program.stdout.read()) == (end == signal.SIGKILL)
    finally:
        program.kill()
        program.communicate()


def test_servers_that_were_left_running_outlive_their_starter_and_can_be_stopped_by_anybody(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from dev.stack import Stack
stack = Stack("left", root=Path({str(tmp_path)!r}), kafka="mock")
stack.start()
stack.leave()
"""
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True, timeout=60)
    left = Stack("left", root=tmp_path)
    assert all(server.running for server in left.recorded().values())
    left.remove()
    assert not left.home.exists()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:p%40ss@127.0.0.1:5432/db",
        "http://localhost:8080/v2",
        "http://[::1]:80",
        "127.0.0.1:9092,localhost:9093",
        "127.8.9.10:9092",
    ],
)
def test_an_address_of_this_machine_is_accepted(address: str) -> None:
    assert loopback_only(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "https://api.digitalocean.com",
        "postgresql://user@127.0.0.1:5432,10.0.0.1:5432/db",
        "postgresql://user@localhost/db?host=db.internal",
        "postgresql://user@localhost/db?hostaddr=192.168.0.1",
        "postgresql:///db",
        "http://127.0.0.1@elsewhere.example/",
        "http://127.0.0.1\\@elsewhere.example/",
        "http://127.0.0.1.elsewhere.example/",
        "127.0.0.1:9092,broker.internal:9092",
        "http://0.0.0.0:80",
        "http://[::1",
        "",
    ],
)
def test_an_address_that_is_not_surely_this_machine_is_refused(address: str) -> None:
    with pytest.raises(StackError, match="is not this machine"):
        loopback_only(address)


def test_free_ports_lie_where_no_outgoing_connection_can_take_them() -> None:
    port = free_port()
    assert port in PORTS
    assert port_is_free(port)
    assert PORTS.stop <= 32_768  # where Linux begins by default; macOS at 49,152
