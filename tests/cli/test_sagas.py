"""`arcadia sagas`, as processes, at an installation with real servers."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from dev.tokens import OPERATOR_ROLES, mint
from tests.cli.conftest import Installation, Said, Shell

SAGAS = "/api/v1/sagas"


@pytest.fixture
def begin(installation: Installation) -> Any:
    """Begin a run that exercises the engine; gives its id."""
    headers = {"authorization": f"Bearer {mint('platform', 'ops@arcadia.test', OPERATOR_ROLES)}"}

    def begin(*steps: str, **more: str) -> str:
        body = {"kind": "exercise", "inputs": {"steps": steps}, **more}
        with httpx.Client(base_url=installation.gateway, headers=headers, timeout=30, trust_env=False) as http:
            answer = http.post(SAGAS, json=body)
            assert answer.status_code == 202, answer.text
            id: str = answer.json()["saga"]["id"]
            return id

    return begin


async def failed(installation: Installation) -> UUID:
    """A run that has failed: its second step could not be undone."""
    conn = await asyncpg.connect(installation.settings.database_url.get_secret_value())
    id = UUID(bytes=b"\xff" + uuid4().bytes[1:])
    try:
        await conn.execute(
            """
            insert into sagas.saga_runs (id, kind, flow_version, status, tenant_id, steps, current_step, inputs,
              context, engine, cancel_requested, error, created_at, finished_at, version)
            values ($1, 'exercise', 1, 'failed', 'initech', '{echo,echo,fail}', 0,
              '{"steps": ["echo", "echo", "fail"], "say": "hello"}', '{}', $2, false, $3, now(), now(), 9)
            """,
            id,
            json.dumps({"marks": ["compensated", "compensation_failed", "failed"], "attempts": 0, "open": [],
                        "resting": False, "round": 0, "timer": 7}),
            json.dumps({"compensate_from_idx": 1, "reason": "step_failed:fail"}),
        )  # fmt: skip
        await conn.execute(
            """
            insert into sagas.saga_step_results
              (saga_id, step_idx, name, status, error, attempts, undo_attempts, started_at, finished_at, undone_at)
            values ($1, 0, 'echo', 'compensated', null, 1, 1, now(), now(), now()),
              ($1, 1, 'echo', 'compensation_failed', '{"code": "stuck", "detail": {"why": "no way"}}', 1, 10, now(),
               now(), now()),
              ($1, 2, 'fail', 'failed', '{"code": "asked_to_fail", "detail": null}', 1, 0, now(), now(), null)
            """,
            id,
        )
    finally:
        await conn.close()
    return id


def well(said: Said) -> str:
    assert said.code == 0, said.err
    return said.out


def test_a_run_is_followed_line_by_line_in_a_pipe_to_its_end(arcadia: Shell, begin: Any) -> None:
    id = begin("echo", "echo")
    out = well(arcadia.apart("sagas", "show", id[:20], "--follow")).splitlines()
    assert out[-1].startswith(f"exercise {id} completed ")
    assert "\x1b" not in "".join(out)
    assert [line for line in out if line.startswith("1  echo  completed  1  ")]


def test_following_a_run_that_is_rolled_back_ends_with_1(arcadia: Shell, begin: Any) -> None:
    said = arcadia("sagas", "show", begin("echo", "fail"), "--follow")
    assert said.code == 1
    assert "1  fail  failed  1  " in said.out
    assert "asked_to_fail" in said.out
    assert "0  echo  compensated  1 + 1 undoing  " in said.out
    assert said.out.splitlines()[-1].endswith("(step_failed:fail)")


def test_a_run_is_shown_with_its_steps_and_all_that_is_known_of_it(arcadia: Shell, begin: Any) -> None:
    id = begin("echo", "fail", "echo")
    arcadia("sagas", "show", id, "--follow")
    out = well(arcadia("sagas", "show", id))
    assert [line.split()[:3] for line in out.splitlines()[2:5]] == [
        ["0", "echo", "compensated"],
        ["1", "fail", "failed"],
        ["2", "echo", "-"],
    ]
    assert 'context        {"echoed_at_step_0":"hello"}' in out
    assert "actor          ops@arcadia.test" in out


def test_runs_are_listed_with_the_newest_first_and_by_what_is_asked(arcadia: Shell, begin: Any) -> None:
    tenant = f"tenant-{uuid4()}"
    first, second = begin("echo", tenant_id=tenant), begin("fail", tenant_id=tenant)
    for id in (first, second):
        arcadia("sagas", "show", id, "--follow")

    def listed(*arguments: str) -> list[str]:
        return [line.split()[0] for line in well(arcadia("sagas", "list", "-t", tenant, *arguments)).splitlines()]

    assert listed() == ["id", second, first]
    assert listed("--status", "rolled_back") == ["id", second]
    assert listed("--kind", "resize_droplet") == ["none"]
    assert listed("--status", "failed") == ["none"]
    assert listed("--deployment", "0") == ["none"]
    assert listed("--limit", "1")[:2] == ["id", second]


def test_a_failed_run_is_found_and_goes_on_when_told_to(installation: Installation, arcadia: Shell) -> None:
    id = str(asyncio.run(failed(installation)))
    assert "sagas have failed and wait for you" in arcadia("status").out.replace("\n", " ")
    assert id in well(arcadia("sagas", "list", "--status", "failed"))
    shown = well(arcadia("sagas", "show", id))
    assert "compensation_failed" in shown
    assert 'stuck {"why":"no way"}' in shown
    assert f"arcadia sagas retry {id}" in shown
    assert f"arcadia sagas show {id} --follow" in well(arcadia("sagas", "retry", id))
    assert "rolled_back" in arcadia("sagas", "show", id, "--follow").out.splitlines()[-1]
    assert well(arcadia("sagas", "list", "--status", "failed")) == "none\n"


def test_a_failed_run_that_is_written_off_waits_for_nobody_any_more(installation: Installation, arcadia: Shell) -> None:
    id = str(asyncio.run(failed(installation)))
    assert f"arcadia sagas write-off {id}" in well(arcadia("sagas", "show", id))
    well(arcadia("sagas", "write-off", id, "--reason", "destroyed by hand"))
    shown = well(arcadia("sagas", "show", id))
    assert '"destroyed by hand"' in shown
    assert "it waits for you" not in shown
    assert well(arcadia("sagas", "list", "--status", "failed")) == "none\n"
    assert "written off" in well(arcadia("sagas", "list", "--tenant", "initech"))
    assert "sagas have failed" not in arcadia("status").out
    for act in (("retry",), ("write-off", "--reason", "again")):
        assert arcadia("sagas", act[0], id, *act[1:]).code == 1


def test_what_cannot_be_done_is_said_with_the_reason(arcadia: Shell, begin: Any) -> None:
    id = begin("echo")
    arcadia("sagas", "show", id, "--follow")
    for act, code in (("cancel", "not_cancellable"), ("retry", "not_retryable")):
        said = arcadia("sagas", act, id)
        assert said.code == 1
        assert code in said.err
    missing = arcadia("sagas", "show", "0000")
    assert (missing.code, missing.err) == (1, "error: no run begins with '0000'\n  See: arcadia sagas list\n")


def test_a_run_under_way_is_cancelled(arcadia: Shell, begin: Any) -> None:
    id = begin(*["echo"] * 50)
    well(arcadia("sagas", "cancel", id))
    assert arcadia("sagas", "show", id, "--follow").out.splitlines()[-1].endswith("(cancelled)")
