"""The engine's two cases, exactly as the requirements have them, on real servers."""

from __future__ import annotations

from tests.sagas.world import Sagas


async def test_three_echoes_complete_with_what_each_said_in_the_context(sagas: Sagas) -> None:
    id = await sagas.exercise("echo", "echo", "echo")
    run = await sagas.ended(id)
    assert run["status"] == "completed"
    assert run["context"] == {f"echoed_at_step_{n}": "hello" for n in range(3)}
    assert run["error"] is None
    assert await sagas.statuses(id) == ["completed"] * 3


async def test_a_failing_third_step_is_walked_back_from_the_second_to_the_first(sagas: Sagas) -> None:
    id = await sagas.exercise("echo", "echo", "fail")
    run = await sagas.ended(id)
    assert run["status"] == "rolled_back"
    assert run["error"] == {"compensate_from_idx": 1, "reason": "step_failed:fail"}
    ledger = await sagas.ledger(id)
    assert [row["status"] for row in ledger] == ["compensated", "compensated", "failed"]
    assert ledger[1]["undone_at"] < ledger[0]["undone_at"]
    assert ledger[2]["error"] == {"code": "asked_to_fail", "detail": None}
