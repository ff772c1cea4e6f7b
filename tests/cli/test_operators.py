"""The operators' commands, as processes, at an installation with real servers."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from jsonschema import Draft202012Validator

from contracts.export import product_topics
from dev.stack import Stack
from shared.bus import ensure_topics
from shared.config import Settings
from tests.cli.conftest import FLEET, Installation, Shell, shell_for

DISCOVERED = ("--type", "resource-discovered")
EVERYTHING = ("--from-beginning", "--no-follow")


def lines(shell: Shell, *arguments: str) -> list[str]:
    """What `arcadia tail` printed."""
    said = shell("tail", *arguments)
    assert said.code == 0, said.err
    return said.out.splitlines()


def test_tail_shows_a_line_for_each_message(arcadia: Shell) -> None:
    found = lines(arcadia, *EVERYTHING, *DISCOVERED)

    assert len(found) == FLEET
    assert all(
        re.match(r"\d\d:\d\d:\d\d\.\d{3} inventory.resources +resource-discovered +…\w{8} ", line) for line in found
    )


def test_tail_for_pipes_gives_envelopes_that_are_valid(arcadia: Shell) -> None:
    found = [json.loads(line) for line in lines(arcadia, *EVERYTHING, "--json")]

    assert len(found) > FLEET
    for envelope in found:
        for instance, name in ((envelope, "envelope.json"), (envelope["data"], Path(envelope["dataschema"]).name)):
            Draft202012Validator(json.loads(Path("contracts/schemas", name).read_text())).validate(instance)


def test_tail_ends_after_so_many_messages(arcadia: Shell) -> None:
    assert len(lines(arcadia, "--from-beginning", "--limit", "3", *DISCOVERED)) == 3


def test_tail_begins_at_a_time(arcadia: Shell) -> None:
    assert len(lines(arcadia, "--since", "1h", "--no-follow", *DISCOVERED)) == FLEET
    assert lines(arcadia, "--since", "2999-01-01", "--no-follow") == []


def test_tail_keeps_to_the_topics_and_the_request_asked_for(arcadia: Shell) -> None:
    command = json.loads(lines(arcadia, *EVERYTHING, "--topic", "*inventory.commands", "--json")[0])
    caused = [
        json.loads(line) for line in lines(arcadia, *EVERYTHING, "--correlation", command["correlationid"], "--json")
    ]

    assert command["type"] == "arcadia.inventory.sync-inventory.v1"
    assert {envelope["type"].split(".")[2] for envelope in caused} >= {"sync-inventory", "resource-discovered", "reply"}


async def test_tail_shows_what_comes_from_now_on(installation: Installation) -> None:
    tailing = asyncio.create_task(
        asyncio.to_thread(lines, installation.arcadia, "--type", "unreadable", "--limit", "1")
    )
    while not tailing.done():  # it begins at the end, wherever that is once it has connected
        await installation.produce("arcadia.gateway.replies", [(b"fresh", b"{}")])
        await asyncio.sleep(0.2)

    (line,) = tailing.result()
    assert "fresh" in line


async def test_tail_shows_tombstones_and_what_nobody_can_read(stack: Stack, settings: Settings) -> None:
    await ensure_topics(settings, product_topics())
    resources = "arcadia.inventory.resources"
    bare = Installation(settings, shell_for(settings), "", Path())
    await bare.produce(resources, [(b"one", None), (b"two", b"\xff\x00"), (b"\xfe", b'{"specversion": "1.0"}')])

    found = await asyncio.to_thread(lines, bare.arcadia, *EVERYTHING)

    assert ["tombstone" in line for line in found].count(True) == 1
    assert ["unreadable" in line for line in found].count(True) == 2


def test_tail_ends_with_its_reader(arcadia: Shell) -> None:
    with arcadia.start("tail", "--from-beginning", "--json") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()

        process.wait(20)
        assert process.stderr.read() == ""


def test_tail_ends_at_ctrl_c_without_a_word(arcadia: Shell) -> None:
    with arcadia.start("tail", "--from-beginning") as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

        assert (process.returncode, err) == (130, "")


def test_status_shows_everything_on_one_screen(arcadia: Shell) -> None:
    said = arcadia("status")

    for service in ("gateway", "inventory", "scheduler"):
        assert re.search(rf"^{service} +1 +\d+ MB +\d+ ", said.out, flags=re.MULTILINE), said.out
    assert re.search(r"^droplet +\d+ +fresh +.* ago +.* ago +complete", said.out, flags=re.MULTILINE)
    assert re.search(r"^sync-inventory +\S+ \* \* \* \* +.*in ", said.out, flags=re.MULTILINE)
    assert max(map(len, said.out.splitlines())) <= 80


async def test_status_of_what_does_not_run_says_so_and_fails(stack: Stack, settings: Settings) -> None:
    shell = shell_for(settings)
    assert (await asyncio.to_thread(shell, "migrate")).code == 0
    await ensure_topics(settings, [])

    said = await asyncio.to_thread(shell, "status")

    assert said.code == 1
    assert "! inventory is not running: arcadia run inventory" in said.out


def test_republish_tells_the_current_state_of_everything_again(arcadia: Shell) -> None:
    said = arcadia("republish", "inventory")
    assert said.code == 0, said.err
    told = int(said.err.split()[0])
    deadline = time.monotonic() + 20
    while len(again := lines(arcadia, *EVERYTHING, "--type", "republished", "--json")) < told:
        assert time.monotonic() < deadline
    envelopes = [json.loads(line) for line in again]
    first = [json.loads(line) for line in lines(arcadia, *EVERYTHING, "--type", "discovered", "--json")]

    assert {envelope["subject"] for envelope in envelopes} == {envelope["subject"] for envelope in first}
    assert {envelope["actor"] for envelope in envelopes} == {f"{getpass.getuser()}@{socket.gethostname()}"}


def test_republish_of_a_service_without_events_is_refused_in_words(arcadia: Shell) -> None:
    said = arcadia("republish", "scheduler")

    assert (said.code, said.err) == (
        1, "error: scheduler owns nothing that others follow by events, so there is nothing to tell again\n"
    )  # fmt: skip


def test_a_minted_token_is_accepted_and_an_expired_one_is_not(installation: Installation) -> None:
    def ask(*options: str) -> httpx.Response:
        token = installation.arcadia("token", *options).out.strip()
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(f"{installation.gateway}/api/v1/me", headers=headers, trust_env=False)

    assert ask("--operator").json()["operator"] is True
    mine = ask("--tenant", "acme", "--email", "jo@acme.example", "--role", "member").json()
    assert (mine["tenant_id"], mine["email"], mine["operator"]) == ("acme", "jo@acme.example", False)
    assert ask("--hours", "-1").status_code == 401


def test_a_dead_letter_is_listed_shown_replayed_and_discarded(installation: Installation) -> None:
    arcadia = installation.arcadia
    asyncio.run(installation.produce("arcadia.inventory.commands", [(b"poison", b'{"not": "an envelope"}')]))
    id = _wait_for_dead_letter(arcadia)

    shown = arcadia("dead-letters", "show", id[:13]).out
    assert "undecodable" in shown
    assert '"not": "an envelope"' in shown
    status = arcadia("status")
    assert (status.code, "! inventory gave up on 1 messages" in status.out) == (1, True)

    replayed = arcadia("dead-letters", "replay", id)
    assert (replayed.code, replayed.out.startswith("1 on their way")) == (0, True)
    # It is as unreadable as before, so it comes back.
    assert _wait_for_dead_letter(arcadia) == id

    assert arcadia("dead-letters", "discard", "--all", "--service", "inventory", "--yes").code == 0
    assert arcadia("dead-letters", "list").out == "none that are dead\n"
    row = asyncio.run(_decision(installation, id))
    assert (row["status"], row["decided_by"]) == ("discarded", f"{getpass.getuser()}@{socket.gethostname()}")
    assert arcadia("status").code == 0


def _wait_for_dead_letter(arcadia: Shell) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = re.search(
            r"^([0-9a-f-]{36}) +inventory .* dead +undecodable", arcadia("dead-letters", "list").out, re.MULTILINE
        )
        if found:
            return found[1]
    raise AssertionError("no dead letter")


async def _decision(installation: Installation, id: str) -> asyncpg.Record:
    conn = await asyncpg.connect(installation.settings.database_url.get_secret_value())
    row = await conn.fetchrow("select status, decided_by from inventory.v1_all_dead_letters where id = $1", id)
    await conn.close()
    assert row
    return row


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay"], "which ones?"),
        (["discard", "--all", "0190"], "which ones?"),
        (["replay", "0190"], "no dead letter begins with '0190'"),
        (["show", "zebra"], "no dead letter begins with 'zebra'"),
        (["discard", "--all", "--service", "scheduler"], "none of these waits for a decision"),
    ],
)
def test_a_decision_about_nothing_is_refused_in_words(arcadia: Shell, arguments: list[str], words: str) -> None:
    said = arcadia("dead-letters", *arguments)

    assert said.code == 1
    assert said.err.startswith(f"error: {words}")


REFUSED = "postgresql://nobody:x@127.0.0.1:1/nothing"


@pytest.mark.parametrize(
    ("arguments", "changed", "words"),
    [
        (["status"], {"DATABASE_URL": REFUSED}, "PostgreSQL or Kafka does not answer"),
        (["migrate"], {"DATABASE_URL": "{url}_not_there"}, 'PostgreSQL refuses: database "'),
        (["migrate"], {"KAFKA_BOOTSTRAP_SERVERS": ""}, "KAFKA_BOOTSTRAP_SERVERS"),
        (["tail"], {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "Kafka does not answer"),
        (["tail"], {"KAFKA_PREFIX": "nowhere."}, "none of these topics exists yet"),
        (["tail", "--since", "tomorrow"], {}, "--since 'tomorrow' is no time"),
        (["run", "gatewy"], {}, "no such service: gatewy"),
        (["run", "gateway"], {"JWT_SECRETS": "[]"}, "JWT_SECRETS"),
        (["run", "gateway"], {"LOG_FORMAT": "xml"}, "LOG_FORMAT Input should be 'json' or 'console'"),
        (["token"], {"JWT_SECRETS": "secret"}, "JWT_SECRETS is not a JSON list of secrets"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    arcadia: Shell, arguments: list[str], changed: dict[str, str], words: str
) -> None:
    url = arcadia.variables["DATABASE_URL"]
    shell = Shell(arcadia.variables | {name: value.format(url=url) for name, value in changed.items()})
    said = shell.apart(*arguments) if arguments[0] == "run" else shell(*arguments)

    assert said.code == 1, said
    assert words in said.err
    assert "Traceback" not in said.err
    assert str(urlsplit(url).password) not in said.err


def test_a_process_ends_well_at_sigterm(arcadia: Shell) -> None:
    with Shell(arcadia.variables | {"LOG_LEVEL": "INFO"}).start("run", "scheduler") as process:
        assert process.stderr
        while "service started" not in process.stderr.readline():
            assert process.poll() is None
        process.terminate()
        process.communicate(timeout=20)

        assert process.returncode == 0


def test_a_stack_of_a_name_is_started_found_and_stopped() -> None:
    shell, name = Shell({"PATH": os.environ["PATH"]}), ("--name", f"test-cli-{time.time_ns()}")
    assert shell("stack", "status", *name).err.startswith("error: the stack")
    try:
        started = shell.apart("stack", "start", *name, seconds=170)
        assert started.code == 0, started.err
        assert re.match(
            r"DATABASE_URL=postgresql://\S+@127.0.0.1:\d+/\S+\nKAFKA_BOOTSTRAP_SERVERS=127.0.0.1:\d+\n", started.out
        )
        assert shell("stack", "status", *name).out == started.out
    finally:
        assert shell("stack", "stop", *name).code == 0
    assert shell("stack", "status", *name).code == 1
    Stack(name[1]).remove()
