"""The local stack: real servers that keep their data, are stopped by whoever started them, and touch nothing real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from dev.stack import Stack, StackError, free_port, loopback_only, state
from dev.stack.address import PORTS, port_is_free
from dev.stack.fallback import KafkaInDocker, choose_kafka
from dev.stack.kafka import find_java
from dev.stack.process import Process, wait_until

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that these tests may stop and kill, below a directory that only its owner can enter."""
    root = tmp_path_factory.mktemp("private")
    root.chmod(0o700)
    with Stack("own", root=root, kafka="apache", ephemeral=True) as stack:
        yield stack


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Stack]:
    """A stack for tests about the stack itself: its broker is the mock, which starts at once."""
    stack = Stack("quick", root=tmp_path, kafka="mock", postgres_fsync=False)
    yield stack
    stack.remove()


async def create_topic(stack: Stack, name: str, partitions: int = 4) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs={"cleanup.policy": "compact"})])
        # The broker hears of a new topic a little after its creator does, and tells nobody when.
        while [one["leader"] for one in await partitions_of(admin, name)] != [1] * partitions:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[dict[str, int]]:
    return list((await admin.describe_topics([topic]))[0]["partitions"])


async def produce(stack: Stack, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        sent = [await producer.send(topic, b"%d" % n, key=b"%d" % n) for n in range(count)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def read_all(stack: Stack, topic: str, count: int) -> list[int]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=stack.kafka_bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        return sorted([int((await asyncio.wait_for(anext(consumer), 20)).value) for _ in range(count)])
    finally:
        await consumer.stop()


async def test_two_members_of_a_group_share_a_compacted_topic_and_commit_their_offsets(own: Stack) -> None:
    await create_topic(own, "shared")
    consumers = [
        AIOKafkaConsumer(
            "shared",
            bootstrap_servers=own.kafka_bootstrap_servers,
            group_id="readers",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=2000,
            heartbeat_interval_ms=200,
        )
        for _ in range(2)
    ]
    await asyncio.gather(*(consumer.start() for consumer in consumers))
    try:
        await asyncio.to_thread(wait_until, lambda: all(consumer.assignment() for consumer in consumers), 20)
        assert [len(consumer.assignment()) for consumer in consumers] == [2, 2]

        await produce(own, "shared", 200)
        seen: list[int] = []
        async with asyncio.timeout(20):
            while len(seen) < 200:
                for consumer in consumers:
                    batches = await consumer.getmany(timeout_ms=100)
                    seen += [int(record.value) for records in batches.values() for record in records]
        assert sorted(seen) == list(range(200))

        await asyncio.gather(*(consumer.commit() for consumer in consumers))
        committed = [await consumers[0].committed(TopicPartition("shared", number)) for number in range(4)]
        assert sum(offset or 0 for offset in committed) == 200
    finally:
        await asyncio.gather(*(consumer.stop() for consumer in consumers))


async def test_the_broker_does_not_invent_topics(own: Stack) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=own.kafka_bootstrap_servers, request_timeout_ms=1000)
    await producer.start()
    try:
        with pytest.raises((UnknownTopicOrPartitionError, asyncio.TimeoutError)):
            await asyncio.wait_for(producer.send_and_wait("never-created", b"x"), 3)
    finally:
        await producer.stop()
    assert "never-created" not in await topics(own)


async def topics(stack: Stack) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def test_a_killed_broker_comes_back_at_its_address_with_its_records(own: Stack) -> None:
    await create_topic(own, "kept")
    await produce(own, "kept", 100)
    address = own.kafka_bootstrap_servers

    await asyncio.to_thread(own.kafka.kill)
    assert not own.kafka.running
    assert own.recorded()["kafka"].process is None
    await asyncio.to_thread(own.kafka.start)

    assert own.kafka_bootstrap_servers == address
    assert await read_all(own, "kept", 100) == list(range(100))


async def test_a_restarted_or_killed_database_keeps_what_was_committed(own: Stack) -> None:
    address = own.database_url
    connection = await asyncpg.connect(address)
    await connection.execute("create table kept (n int)")
    for n, bring_back in enumerate((own.postgres.restart, kill_and_start(own), stop_at_once_and_start(own))):
        await connection.execute("insert into kept values ($1)", n)
        await asyncio.to_thread(bring_back)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.fetch("select 1")
        assert own.database_url == address
        connection = await asyncpg.connect(address)
        assert await connection.fetchval("select count(*) from kept") == n + 1
    await connection.close()


def kill_and_start(stack: Stack) -> Callable[[], None]:
    def act() -> None:
        stack.postgres.kill()
        assert not stack.postgres.running
        stack.postgres.start()

    return act


def stop_at_once_and_start(stack: Stack) -> Callable[[], None]:
    def act() -> None:
        stack.postgres.stop(immediate=True)
        stack.postgres.start()

    return act


async def test_the_database_is_postgresql_18_with_a_password_and_without_sockets(own: Stack) -> None:
    connection = await asyncpg.connect(own.database_url)
    assert (await connection.fetchval("show server_version")).startswith("18.")
    assert await connection.fetchval("show unix_socket_directories") == ""
    assert await connection.fetchval("show fsync") == "on"
    assert await connection.fetchval("select distinct auth_method from pg_hba_file_rules") == "scram-sha-256"
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(own.database_url, password="guessed")


def test_the_database_never_runs_as_root_nor_from_below_a_private_directory(own: Stack) -> None:
    assert own.postgres.process is not None
    postmaster = psutil.Process(own.postgres.process.pid)
    assert postmaster.uids().effective != 0
    if os.geteuid() == 0:
        home = own.postgres.data.parent
        assert own.home not in home.parents
        assert (home.stat().st_mode & 0o777, home.owner()) == (0o700, postmaster.username())
        assert CHECKOUT not in Path(postmaster.exe()).parents
        assert Path(postmaster.exe()).owner() == "root"
    else:
        assert own.postgres.data.parent == own.home / "postgres"


def test_what_names_a_real_server_in_the_environment_reaches_no_server(
    quick: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "DO_API_TOKEN", "DO_API_URL", "PGHOST", "PGPORT"):
        monkeypatch.setenv(name, "elsewhere.example")
    quick.start()
    for url in quick.settings.values():
        loopback_only(url)
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
        assert not set(other.settings.values()) & set(quick.settings.values())
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
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout is not None
    try:
        while "Ctrl-C" not in program.stdout.readline():
            assert program.poll() is None
        orphan = Stack("orphan", root=tmp_path)
        processes = [server.process for server in orphan.recorded().values() if server.process]
        assert len(processes) == 3
        program.send_signal(end)
        program.wait(20)
        assert all(process.wait(20) for process in processes)
        assert wait_until(lambda: not orphan.home.exists(), 10)
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
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert PORTS.stop <= lowest


def programs(directory: Path, **scripts: str) -> str:
    """A PATH that holds only these programs."""
    for name, script in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return str(directory)


def test_without_java_and_docker_a_mock_serves_and_the_screen_says_how_to_get_the_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", programs(tmp_path, docker="exit 1", java="echo 'openjdk version \"11.0.2\"' >&2"))
    said: list[str] = []
    assert find_java() is None
    assert choose_kafka(said.append) == "mock"
    assert "NO REAL KAFKA" in said[0]
    assert "apt-get install maven" in said[0]


def test_without_java_a_running_docker_serves_the_same_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", programs(tmp_path, docker="exit 0"))
    assert choose_kafka(pytest.fail) == "docker"
    argv = [str(word) for word in KafkaInDocker(tmp_path / "home", 20_000).command().argv]
    assert "--publish=127.0.0.1:20000:9092" in argv
    assert "--env=KAFKA_ADVERTISED_LISTENERS=CLIENT://127.0.0.1:20000" in argv
    assert "--env=KAFKA_AUTO_CREATE_TOPICS_ENABLE=false" in argv
    assert argv[-1].startswith("apache/kafka:4.")
