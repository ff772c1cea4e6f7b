"""Input that cannot be used is told so, with the path of what is wrong, and nothing is stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.gateway.world import World

SYNC = "/api/v1/inventory/sync"
LINK = "/api/v1/inventory/019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11/link"
APPROVE = "/api/v1/inventory/held-syncs/019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11/approve"
PROJECT = "/api/v1/projects/019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f11"
DEPLOYMENT = "019a9f3e-6a0c-7c3e-8f5e-0d6a5b0c9f12"
LIST = "/api/v1/inventory"


@dataclass(frozen=True)
class Bad:
    """A request, and what the answer must say."""

    method: str
    path: str
    status: int
    field: str | None = None
    json: Any = None
    content: bytes | None = None
    headers: dict[str, str] | None = None


BAD = {
    "malformed JSON": Bad("POST", SYNC, 400, content=b'{"kind": '),
    "JSON with words behind it": Bad("POST", SYNC, 400, content=b"{} and more"),
    "no JSON but a form": Bad("POST", LINK, 400, content=b"deployment_id=1"),
    "bytes that are no UTF-8": Bad("POST", SYNC, 400, content=b'{"kind": "\xff"}'),
    "very deep JSON": Bad("POST", SYNC, 400, content=b'{"kind":' + b"[" * 200_000),
    "a list for a body": Bad("POST", SYNC, 422, "", json=[]),
    "a number for a body": Bad("POST", LINK, 422, "", json=7),
    "no body where one is needed": Bad("POST", LINK, 422, ""),
    "an unknown kind": Bad("POST", SYNC, 422, "kind", json={"kind": "submarine"}),
    "a kind of another type": Bad("POST", SYNC, 422, "kind", json={"kind": {"droplet": True}}),
    "a field left out": Bad("POST", LINK, 422, "deployment_id", json={"tenant_id": "acme"}),
    "an id that is none": Bad("POST", LINK, 422, "deployment_id", json={"deployment_id": "seven"}),
    "null where it is not allowed": Bad("POST", LINK, 422, "deployment_id", json={"deployment_id": None}),
    "a time without an offset": Bad(
        "POST", LINK, 422, "effective_from", json={"deployment_id": DEPLOYMENT, "effective_from": "2026-01-01T00:00:00"}
    ),
    "a time before there were computers": Bad(
        "POST",
        LINK,
        422,
        "effective_from",
        json={"deployment_id": DEPLOYMENT, "effective_from": "0001-01-01T00:00:00+14:00"},
    ),
    "a tenant with a zero byte": Bad(
        "POST", LINK, 422, "tenant_id", json={"deployment_id": DEPLOYMENT, "tenant_id": "ac\x00me"}
    ),
    "an empty tenant": Bad("PATCH", PROJECT, 422, "tenant_id", json={"tenant_id": ""}),
    "a purpose of 256 characters": Bad("PATCH", PROJECT, 422, "purpose", json={"purpose": "x" * 256}),
    "a lone surrogate": Bad("PATCH", PROJECT, 400, content=b'{"purpose": "\\ud800"}'),
    "nothing to change": Bad("PATCH", PROJECT, 422, "", json={"unknown": 1}),
    "a body of two mebibytes": Bad("POST", SYNC, 413, content=b" " * 2 * 1024 * 1024),
    "two mebibytes where no body is read": Bad("POST", APPROVE, 413, content=b" " * 2 * 1024 * 1024),
    "a cursor that is none": Bad("GET", f"{LIST}?cursor=seven", 422, "cursor"),
    "a cursor of another length": Bad("GET", f"{LIST}?cursor=AAAA", 422, "cursor"),
    "a cursor of other characters": Bad("GET", f"{LIST}?cursor=%C3%A4", 422, "cursor"),
    "a limit of nothing": Bad("GET", f"{LIST}?limit=0", 422, "limit"),
    "a limit beyond the longest page": Bad("GET", f"{LIST}?limit=1001", 422, "limit"),
    "a limit that is no number": Bad("GET", f"{LIST}?limit=ten", 422, "limit"),
    "a limit beyond all numbers": Bad("GET", f"{LIST}?limit=99999999999999999999", 422, "limit"),
    "a filter that is no kind": Bad("GET", f"{LIST}?kind=submarine", 422, "kind"),
    "a filter that is no id": Bad("GET", f"{LIST}?deployment=seven", 422, "deployment"),
    "a filter with a zero byte": Bad("GET", f"{LIST}?q=a%00b", 422, "q"),
    "a filter that is too long": Bad("GET", f"{LIST}?tag={'x' * 256}", 422, "tag"),
    "a state that is too long": Bad("GET", f"{LIST}?state={'x' * 256}", 422, "state"),
    "a status that is none": Bad("GET", f"{LIST}/held-syncs?status=maybe", 422, "status"),
    "an id in the path that is none": Bad("GET", f"{LIST}/seven", 404),
    "an id that names nothing": Bad("GET", f"{LIST}/{DEPLOYMENT}", 404),
    "an operation that is not there": Bad("GET", f"/api/v1/operations/{DEPLOYMENT}", 404),
    "a path that is not there": Bad("GET", "/api/v1/submarines", 404),
    "a method that is not there": Bad("DELETE", LIST, 405),
    "an empty key": Bad("POST", SYNC, 422, "Idempotency-Key", headers={"idempotency-key": ""}),
    "a key of 256 characters": Bad("POST", SYNC, 422, "Idempotency-Key", headers={"idempotency-key": "x" * 256}),
    "a key with a tab": Bad("POST", SYNC, 422, "Idempotency-Key", headers={"idempotency-key": "a\tb"}),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_told_where_it_is_bad_and_nothing_is_stored(
    there: World, operator: httpx.AsyncClient, name: str
) -> None:
    bad = BAD[name]
    before = await stored(there)
    content = bad.content if bad.json is None else json.dumps(bad.json).encode()
    answer = await operator.request(bad.method, bad.path, content=content, headers=bad.headers)
    assert answer.status_code == bad.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == bad.status
    assert {"error", "type", "title", "detail"} <= problem.keys()
    if bad.field is not None:
        assert problem["error"] == "validation_failed"
        assert [each["field"] for each in problem["errors"]] == [bad.field]
    assert await stored(there) == before


async def stored(there: World) -> tuple[int, int]:
    operations = await there.admin.fetchval("select count(*) from gateway.operations")
    return operations, await there.admin.fetchval("select count(*) from gateway.outbox")


async def test_every_wrong_field_is_named_at_once(operator: httpx.AsyncClient) -> None:
    wrong = {"effective_from": "yesterday", "tenant_id": 7}
    errors = (await operator.post(LINK, json=wrong)).json()["errors"]
    assert [(e["source"], e["field"]) for e in errors] == [
        ("body", "deployment_id"), ("body", "effective_from"), ("body", "tenant_id")
    ]  # fmt: skip


async def test_a_missing_method_names_those_that_are_there(operator: httpx.AsyncClient) -> None:
    allowed = (await operator.delete(LIST)).headers["allow"]
    assert set(allowed.split(", ")) == {"GET", "OPTIONS"}
