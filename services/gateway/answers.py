"""What a command's outcome is in HTTP: a table, so that the same outcome is the same answer everywhere and always."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from services.gateway.problems import Problem, invalid_fields
from shared.inbox import Recorded

Answer = tuple[int, bytes]
"""An HTTP status, and a body of JSON (of a problem from 400 on)."""

REFUSALS: dict[str, int] = {
    "forbidden": 403,
    "not_found": 404,
    "not_found_at_provider": 404,
    "no_spec": 404,
    "addon_not_attached": 404,
    "plan_not_found": 404,
    "plan_or_version_not_found": 404,
    "subscription_not_found": 404,
    "version_not_found": 404,
    "addon_attached": 409,
    "addon_exists": 409,
    "already_decided": 409,
    "being_reverted": 409,
    "billing_action_suspended": 409,
    "day_metered": 409,
    "deployment_busy": 409,
    "deployment_ended": 409,
    "drift_changed": 409,
    "expired": 409,
    "invoice_busy": 409,
    "line_replaced": 409,
    "no_active_version": 409,
    "not_cancellable": 409,
    "not_failed": 409,
    "not_ingested": 409,
    "not_open": 409,
    "not_retryable": 409,
    "not_to_be_cancelled": 409,
    "plan_exists": 409,
    "price_exists": 409,
    "resource_busy": 409,
    "resource_deleted": 409,
    "saga_exists": 409,
    "saga_is_over": 409,
    "subscription_cancelled": 409,
    "subscription_exists": 409,
    "version_not_active": 409,
    "version_retired": 409,
    "finance_denied_access": 502,
    "provider_denied_access": 502,
}
"""The status of each refusal whose code is not simply 422."""


def answer_to(outcome: Recorded, operation_id: UUID, ok: int = 200) -> Answer:
    """The answer for a decided command; `ok`: the status when it was done."""
    match outcome.status:
        case "ok":
            return ok, orjson.dumps(outcome.result or {}, option=orjson.OPT_SORT_KEYS)
        case "refused":
            problem = _refusal(outcome)
        case _:
            problem = _failure(outcome, operation_id)
    return problem.status, problem.body()


def is_final(outcome: Recorded) -> bool:
    """Whether an outcome stays. A command that failed may be replayed by an operator, and then have another."""
    return outcome.status in {"ok", "refused"}


def _refusal(outcome: Recorded) -> Problem:
    code = outcome.code or "refused"
    members: dict[str, Any] = dict(outcome.detail or {})
    if code == "invalid_fields":
        return invalid_fields(members.pop("fields", {}))
    message = members.pop("message", None) or refusal_detail(code)
    return Problem(REFUSALS.get(code, 422), code, message, members=members)


def refusal_detail(code: str) -> str:
    """What is said of a refusal that says nothing more itself."""
    return f"The request was refused: {code.replace('_', ' ')}."


def _failure(outcome: Recorded, operation_id: UUID) -> Problem:
    return Problem(
        500,
        "command_failed",
        "The request was accepted and could not be carried out; an operator can mend and replay it.",
        members={"operation_id": str(operation_id), "dead_letter_id": (outcome.detail or {}).get("dead_letter_id")},
    )
