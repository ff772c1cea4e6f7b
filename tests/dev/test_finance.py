"""The finance service's stand-in, over HTTP: whom it lets in, what it takes, what it keeps, and what can go wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import httpx
import jwt
import psutil
import pytest

from dev.finance.control import FinanceControl
from dev.finance.running import RunningFinance, running_finance
from dev.serving import ROOT
from dev.tokens import DEVELOPMENT_SECRET, claims, mint

IMPORT = "/api/v1/integrations/cloud/import-invoice"
TENANT = "platform-admin"
ABSENT = object()
INVOICE: dict[str, Any] = {
    "source": "digitalocean",
    "external_id": "f0d2a1c4-0000-4000-8000-000000000001",
    "period": "2026-04-01",
    "currency": "USD",
    "amount_gross_minor": 1234,
    "amount_net_minor": 1037,
    "amount_tax_minor": 197,
    "lines": [
        {"description": "web-1 (s-1vcpu-1gb)", "amount_minor": 1334, "product": "Droplets", "quantity": "672.0"},
        {"description": "a credit", "amount_minor": -100, "starts_at": "2026-04-01T00:00:00Z", "ends_at": None},
    ],
}


@pytest.fixture(scope="module")
def finance() -> Iterator[RunningFinance]:
    with running_finance() as running:
        yield running


@pytest.fixture
async def control(finance: RunningFinance) -> AsyncIterator[FinanceControl]:
    async with finance.control() as control:
        await control.reset()
        yield control


@pytest.fixture(scope="module")
async def api(finance: RunningFinance) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=finance.url, timeout=5, trust_env=False) as client:
        yield client


def token(tenant_id: Any = TENANT, **changed: Any) -> str:
    """A token that is let in, but for the claims that are changed or absent."""
    usual = claims(TENANT, "billing@arcadia.example", ["admin"], lifetime_s=300) | {"tenant_id": tenant_id, **changed}
    payload = {name: value for name, value in usual.items() if value is not ABSENT}
    return jwt.encode(payload, DEVELOPMENT_SECRET, algorithm="HS512")


async def push(api: httpx.AsyncClient, bearer: str = "", /, **changed: Any) -> httpx.Response:
    """Import INVOICE, but for the fields that are changed or absent."""
    body = {name: value for name, value in (INVOICE | changed).items() if value is not ABSENT}
    return await api.post(IMPORT, json=body, headers={"authorization": f"Bearer {bearer or token()}"})


async def test_the_first_import_creates_and_a_later_one_updates_the_same_invoice(
    api: httpx.AsyncClient, control: FinanceControl
) -> None:
    first = await push(api)
    lines = [{"description": "all of it", "amount_minor": 10}]
    second = await push(api, amount_gross_minor=10, amount_net_minor=10, amount_tax_minor=0, lines=lines)

    assert (first.status_code, first.json()["action"]) == (201, "created")
    assert (second.status_code, second.json()["action"]) == (200, "updated")
    assert first.json()["invoice"]["id"] == second.json()["invoice"]["id"]
    (kept,) = await control.invoices()
    assert (kept.id, kept.imports) == (first.json()["invoice"]["id"], 2)
    assert (kept.tenant_id, kept.source, kept.external_id) == (TENANT, INVOICE["source"], INVOICE["external_id"])
    assert (kept.period, kept.currency) == (date(2026, 4, 1), "USD")
    assert (kept.amount_gross_minor, kept.amount_net_minor, kept.amount_tax_minor) == (10, 10, 0)
    assert [(line.description, line.amount_minor) for line in kept.lines] == [("all of it", 10)]


async def test_lines_are_kept_as_they_came_without_fields_that_are_unknown(
    api: httpx.AsyncClient, control: FinanceControl
) -> None:
    lines = [INVOICE["lines"][0] | {"colour": "blue"}, INVOICE["lines"][1]]
    assert (await push(api, lines=lines, colour="blue")).status_code == 201

    (kept,) = await control.invoices()
    assert [line.model_dump(exclude_none=True) for line in kept.lines] == [
        {name: value for name, value in line.items() if value is not None} for line in INVOICE["lines"]
    ]


async def test_twenty_imports_at_once_create_one_invoice(api: httpx.AsyncClient, control: FinanceControl) -> None:
    answers = await asyncio.gather(*(push(api) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert [answer.json()["action"] for answer in answers].count("created") == 1
    assert [one.imports for one in await control.invoices()] == [20]


async def test_source_and_external_id_tell_invoices_apart(api: httpx.AsyncClient, control: FinanceControl) -> None:
    for changed in ({}, {"external_id": "another"}, {"source": "another"}):
        assert (await push(api, **changed)).status_code == 201

    assert len({one.id for one in await control.invoices()}) == 3


async def test_two_tenants_invoices_are_apart(api: httpx.AsyncClient, control: FinanceControl) -> None:
    for tenant_id in ("one", "two"):
        assert (await push(api, token(tenant_id))).status_code == 201

    one, two = await control.invoices()
    assert (one.tenant_id, two.tenant_id) == ("one", "two")
    assert one.id != two.id
    assert [vendor.tenant_id for vendor in await control.vendors()] == ["one", "two"]


async def test_the_vendor_comes_with_the_first_import_and_once(api: httpx.AsyncClient, control: FinanceControl) -> None:
    assert await control.vendors() == []
    await push(api, source="another")
    assert await control.vendors() == []
    await push(api)
    await push(api, external_id="another")

    (vendor,) = await control.vendors()
    assert (vendor.name, vendor.category, vendor.tenant_id) == ("DigitalOcean", "cloud", TENANT)
    assert [one.vendor_id for one in await control.invoices()] == [None, vendor.id, vendor.id]


@pytest.mark.parametrize(
    ("bearer", "reason"),
    [
        (lambda: "nonsense", "Not enough segments"),
        (lambda: mint(TENANT, "a@b.example", ["admin"], secret="another" * 10, lifetime_s=300), "Signature"),
        (lambda: jwt.encode(claims(TENANT, "a", ["admin"], lifetime_s=60), DEVELOPMENT_SECRET, "HS256"), "alg"),
        (lambda: token(exp=int(time.time()) - 1), "expired"),
        (lambda: token(exp=ABSENT), '"exp"'),
        (lambda: token(iat=ABSENT), '"iat"'),
        (lambda: token(exp=int(time.time()) + 700), "longer than 600"),
        (lambda: token(iss="another"), "issuer"),
        (lambda: token(aud="another"), "Audience"),
        (lambda: token(typ="refresh"), "typ"),
        (lambda: token(typ=ABSENT), "typ"),
        (lambda: token(tenant_id=ABSENT), "tenant_id"),
        (lambda: token(tenant_id=""), "tenant_id"),
        (lambda: token(roles=ABSENT), "roles"),
        (lambda: token(roles="admin"), "roles"),
    ],
)
async def test_a_token_that_is_not_right_is_unauthorized_and_the_journal_says_why(
    api: httpx.AsyncClient, control: FinanceControl, bearer: Any, reason: str
) -> None:
    refused = await push(api, bearer())

    assert (refused.status_code, refused.json()) == (401, {"error": "unauthorized"})
    (entry,) = await control.requests()
    assert (entry.status, entry.claims) == (401, None)
    assert reason in entry.refused
    assert await control.invoices() == []


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic YTpi"}])
async def test_without_a_token_nobody_is_let_in(
    api: httpx.AsyncClient, control: FinanceControl, headers: dict[str, str]
) -> None:
    refused = await api.post(IMPORT, json=INVOICE, headers=headers)

    assert (refused.status_code, refused.json()) == (401, {"error": "unauthorized"})
    assert await control.invoices() == []


async def test_a_token_of_ten_minutes_is_let_in(api: httpx.AsyncClient, control: FinanceControl) -> None:
    longest = mint(TENANT, "billing@arcadia.example", ["admin"], lifetime_s=600)

    assert (await push(api, longest)).status_code == 201


async def test_who_is_no_admin_is_forbidden(api: httpx.AsyncClient, control: FinanceControl) -> None:
    refused = await push(api, token(roles=["platform-admin", "viewer"]))

    assert (refused.status_code, refused.json()) == (403, {"error": "forbidden"})
    assert [entry.status for entry in await control.requests()] == [403]
    assert await control.invoices() == []


@pytest.mark.parametrize(
    ("changed", "field", "reason"),
    [
        *[({name: ABSENT}, name, "required") for name in INVOICE],
        ({"source": ""}, "source", "at least 1"),
        ({"external_id": 7}, "external_id", "string"),
        ({"period": "2026-04-02"}, "period", "first day"),
        ({"period": "2026-04-01T00:00:00Z"}, "period", "date"),
        ({"period": 1_775_001_600}, "period", "date"),
        ({"currency": "usd"}, "currency", "pattern"),
        ({"amount_gross_minor": 1234.0}, "amount_gross_minor", "integer"),
        ({"amount_net_minor": "1037"}, "amount_net_minor", "integer"),
        ({"amount_tax_minor": True}, "amount_tax_minor", "integer"),
        ({"amount_tax_minor": 196}, "amount_gross_minor", "net and tax are 1233"),
        ({"lines": INVOICE["lines"][:1]}, "lines", "add up to 1334"),
        ({"lines": {}}, "lines", "array"),
        ({"lines": [{"amount_minor": 1234}]}, "lines.0.description", "required"),
        ({"lines": [{"description": "all", "amount_minor": "1234"}]}, "lines.0.amount_minor", "integer"),
        ({"lines": [{"description": "all", "amount_minor": 1234, "quantity": 1}]}, "lines.0.quantity", "string"),
    ],
)
async def test_what_is_missing_or_wrong_is_named(
    api: httpx.AsyncClient, control: FinanceControl, changed: dict[str, Any], field: str, reason: str
) -> None:
    refused = await push(api, **changed)

    assert (refused.status_code, refused.json()["error"]) == (422, "validation_failed")
    (error,) = refused.json()["errors"]
    assert error["field"] == field
    assert reason in error["reason"]
    assert await control.invoices() == []


async def test_everything_that_is_wrong_is_named_at_once(api: httpx.AsyncClient, control: FinanceControl) -> None:
    refused = await push(api, amount_gross_minor=1)

    assert [error["field"] for error in refused.json()["errors"]] == ["amount_gross_minor", "lines"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]"])
async def test_a_body_that_is_no_json_object_is_refused(
    api: httpx.AsyncClient, control: FinanceControl, body: bytes
) -> None:
    refused = await api.post(IMPORT, content=body, headers={"authorization": f"Bearer {token()}"})

    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["body"]


async def test_a_status_comes_instead_of_an_import_as_often_as_told(
    api: httpx.AsyncClient, control: FinanceControl
) -> None:
    await control.arm("status", count=2, status=502)

    assert [(await push(api)).status_code for _ in range(3)] == [502, 502, 201]
    assert [one.imports for one in await control.invoices()] == [1]
    assert [(entry.status, entry.fault) for entry in await control.requests()] == [
        (502, "status"),
        (502, "status"),
        (201, None),
    ]


async def test_an_import_whose_answer_is_lost_took_effect(api: httpx.AsyncClient, control: FinanceControl) -> None:
    await control.arm("lost")
    with pytest.raises(httpx.ReadError):
        await push(api)

    assert [one.imports for one in await control.invoices()] == [1]
    assert [(entry.status, entry.fault) for entry in await control.requests()] == [(0, "lost")]
    again = await push(api)
    assert (again.status_code, again.json()["action"]) == (200, "updated")


async def test_a_slow_import_takes_effect_after_its_seconds_though_nobody_waits(
    api: httpx.AsyncClient, control: FinanceControl
) -> None:
    await control.arm("slow", seconds=0.5)
    with pytest.raises(httpx.ReadTimeout):
        await api.post(IMPORT, json=INVOICE, headers={"authorization": f"Bearer {token()}"}, timeout=0.2)
    assert await control.invoices() == []
    assert [entry.status for entry in await control.requests()] == [None]

    await asyncio.sleep(0.6)
    assert [one.imports for one in await control.invoices()] == [1]
    assert [entry.status for entry in await control.requests()] == [201]


async def test_faults_strike_one_after_the_other(api: httpx.AsyncClient, control: FinanceControl) -> None:
    await control.arm("status", status=500)
    await control.arm("status", status=429)

    assert [(await push(api)).status_code for _ in range(3)] == [500, 429, 201]


async def test_what_is_disarmed_strikes_no_more(api: httpx.AsyncClient, control: FinanceControl) -> None:
    await control.arm("status", count=5)
    await control.disarm()

    assert (await push(api)).status_code == 201


async def test_a_fault_that_makes_no_sense_is_refused_with_its_reason(finance: RunningFinance) -> None:
    async with httpx.AsyncClient(base_url=finance.url, trust_env=False) as client:
        refused = await client.post("/_control/faults", json={"effect": "hang"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "effect")


async def test_the_journal_shows_the_claims_and_never_the_token(
    api: httpx.AsyncClient, control: FinanceControl, finance: RunningFinance
) -> None:
    bearer, other = token("acme"), token("acme", typ="refresh")
    await push(api, bearer)
    await push(api, other)
    await api.post("/api/v1/elsewhere", headers={"authorization": f"Bearer {bearer}"})

    entries = await control.requests()
    assert [(entry.path, entry.status) for entry in entries] == [
        (IMPORT, 201),
        (IMPORT, 401),
        ("/api/v1/elsewhere", 404),
    ]
    assert entries[0].claims == jwt.decode(bearer, options={"verify_signature": False})
    raw = (await api.get("/_control/requests")).text
    for each in (bearer, other):
        assert not any(part in raw for part in each.split("."))


async def test_a_reset_forgets_everything(api: httpx.AsyncClient, control: FinanceControl) -> None:
    first = (await push(api)).json()["invoice"]["id"]
    await control.arm("status")
    await control.reset()

    assert (await control.invoices(), await control.vendors(), await control.requests()) == ([], [], [])
    again = await push(api)
    assert (again.status_code, again.json()["invoice"]["id"]) == (201, first)


async def test_what_is_under_way_at_a_reset_leaves_nothing(api: httpx.AsyncClient, control: FinanceControl) -> None:
    await control.arm("slow", seconds=0.3)
    slow = asyncio.create_task(push(api))
    while not await control.requests():
        await asyncio.sleep(0.01)
    await control.reset()

    assert (await slow).status_code == 201
    assert (await control.invoices(), await control.requests()) == ([], [])


async def test_health_needs_no_token(api: httpx.AsyncClient) -> None:
    assert (await api.get("/healthz")).status_code == 200


async def test_there_is_nothing_elsewhere(api: httpx.AsyncClient, control: FinanceControl) -> None:
    assert (await api.get(IMPORT)).status_code == 404
    assert (await api.get("/_control/elsewhere")).status_code == 404
    assert await control.requests() == []


async def test_the_secret_is_an_option() -> None:
    secret = "another secret, which is as long as sixty-four bytes have to be for HS512"
    with running_finance(secret=secret) as finance:
        async with httpx.AsyncClient(base_url=finance.url, trust_env=False) as client:
            assert finance.secret == secret
            assert (await push(client)).status_code == 401
            ours = mint(TENANT, "billing@arcadia.example", ["admin"], secret=secret, lifetime_s=300)
            assert (await push(client, ours)).status_code == 201


def test_the_process_ends_when_its_starter_is_gone() -> None:
    starter = """if True:
        from dev.finance.running import running_finance
        with running_finance() as finance:
            print(finance.pid, flush=True)
            input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", starter], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        finance = psutil.Process(int(process.stdout.readline()))
        process.kill()
    finance.wait(timeout=10)
