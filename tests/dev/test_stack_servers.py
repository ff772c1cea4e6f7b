"""The servers of the local stack: real ones, that keep their data when they are restarted or killed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from dev.stack import Stack
from dev.stack.fallback import ONLY_A_MOCK, KafkaInDocker, choose_kafka
from dev.stack.kafka import find_java
from dev.stack.postgres import SYSTEM_HOME
from dev.stack.process import spawn, wait_until


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that these tests may stop and kill, below a directory that only its owner can enter."""
    root = tmp_path_factory.mktemp("private")
    root.chmod(0o700)
    with Stack("own", root=root, ephemeral=True, say=print) as stack:
        yield stack


@pytest.fixture
def real(own: Stack) -> Stack:
    """The same, for what only Apache Kafka can do: a machine that cannot run it is told so."""
    if own.kafka.kind == "mock":
        pytest.skip(ONLY_A_MOCK)
    return own


async def create_topic(stack: Stack, name: str, partitions: int = 4) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs={"cleanup.policy": "compact"})])
        # The broker hears of a new topic a little after its creator does, and tells nobody when.
        while [one["leader"] for one in await partitions_of(admin, name)] != [1] * partitions:
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


async def test_two_members_of_a_group_share_a_compacted_topic_and_commit_their_offsets(real: Stack) -> None:
    await create_topic(real, "shared")
    consumers = [
        AIOKafkaConsumer(
            "shared",
            bootstrap_servers=real.kafka_bootstrap_servers,
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

        await produce(real, "shared", 200)
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


async def test_the_broker_does_not_invent_topics(real: Stack) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=real.kafka_bootstrap_servers, request_timeout_ms=1000)
    await producer.start()
    try:
        with pytest.raises((UnknownTopicOrPartitionError, asyncio.TimeoutError)):
            await asyncio.wait_for(producer.send_and_wait("never-created", b"x"), 3)
    finally:
        await producer.stop()
    assert "never-created" not in await topics(real)


async def topics(stack: Stack) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def test_a_killed_broker_comes_back_at_its_address_with_its_records(real: Stack) -> None:
    await create_topic(real, "kept")
    await produce(real, "kept", 100)
    address = real.kafka_bootstrap_servers

    await asyncio.to_thread(real.kafka.kill)
    assert not real.kafka.running
    assert real.recorded()["kafka"].process is None
    await asyncio.to_thread(real.kafka.start)

    assert real.kafka_bootstrap_servers == address
    assert await read_all(real, "kept", 100) == list(range(100))


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
        assert SYSTEM_HOME in Path(postmaster.exe()).parents
        assert Path(postmaster.exe()).owner() == "root"
    else:
        assert own.postgres.data.parent == own.home / "postgres"


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
    assert "--env=KAFKA_ADVERTISED_LISTENERS=CLIENT://127.0.0.1:20000,BROKER://localhost:9094" in argv
    assert "--env=KAFKA_AUTO_CREATE_TOPICS_ENABLE=false" in argv
    assert argv[-1].startswith("apache/kafka:4.")


def test_killing_kafka_in_docker_kills_its_container_and_removing_it_removes_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    recorder = f"""
echo "$@" >> {calls}
for word; do case "$word" in --cidfile=*) printf 4711 > "${{word#--cidfile=}}"; exec /bin/sleep 60;; esac; done"""
    monkeypatch.setenv("PATH", programs(tmp_path, docker=recorder))
    broker = KafkaInDocker(tmp_path / "home", 20_000)
    broker.home.mkdir()
    broker.process = spawn(broker.command(), broker.log)
    assert wait_until(lambda: broker.container.exists() and broker.container.read_text() == "4711", 10)

    broker.kill()
    assert not broker.running
    broker.purge()
    assert calls.read_text().splitlines()[1:] == ["kill 4711", f"volume rm --force {broker.volume}"]
