"""What happens around every request."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
import structlog
from litestar.types import Receive, Scope, Send
from prometheus_client import generate_latest

from contracts.message import Envelope
from contracts.runtime import GATEWAY_REPLIES
from dev.tokens import DEVELOPMENT_SECRET
from services.gateway.app import serving
from services.gateway.door import Door
from services.gateway.gateway import Gateway
from services.gateway.limits import RateLimit
from tests.gateway.world import ACME, GLOBEX, OPERATOR, World, client, cut


@pytest.mark.parametrize("path", ["/api/health", "/api/v1/me", "/api/v1/inventory/seven", "/nowhere"])
async def test_every_answer_carries_an_id_of_its_request(acme: httpx.AsyncClient, path: str) -> None:
    first, second = await acme.get(path), await acme.get(path)
    assert UUID(first.headers["x-request-id"]) != UUID(second.headers["x-request-id"])
    given = str(uuid4())
    assert (await acme.get(path, headers={"x-request-id": given})).headers["x-request-id"] == given
    other = (await acme.get(path, headers={"x-request-id": "7; drop table"})).headers["x-request-id"]
    assert UUID(other)


async def test_a_request_leaves_one_line_that_names_who_asked_and_not_the_token(acme: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        await acme.get("/api/v1/inventory?limit=1")
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["path"], line["status"]) == ("/api/v1/inventory", 200)
    assert (line["tenant"], line["actor"]) == ("acme", "ann@acme.test")
    assert ACME not in str(lines)


async def test_requests_are_measured_by_route_and_not_by_path(acme: httpx.AsyncClient) -> None:
    await acme.get(f"/api/v1/inventory/{uuid4()}")
    await acme.get("/api/v1/submarines")
    measured = generate_latest().decode()
    assert 'route="/api/v1/inventory/{resource_id}",status="404"' in measured
    assert 'route="(none)",status="404"' in measured
    assert "submarines" not in measured


async def test_a_connection_that_was_idle_for_longer_than_clients_keep_one_still_serves(gateway: Gateway) -> None:
    url = httpx.URL(gateway.url or "")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for idle in (6, 0):
        writer.write(b"GET /api/health HTTP/1.1\r\nhost: there\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        headers = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(headers.lower().partition(b"content-length: ")[2].split()[0]))
        await asyncio.sleep(idle)
    writer.close()


def test_a_tenant_may_ask_so_often_and_again_after_a_while() -> None:
    now = 0.0
    limit = RateLimit(60, clock=lambda: now)
    assert [limit.wait_for("acme") for _ in range(60)] == [0.0] * 60
    assert limit.wait_for("acme") == pytest.approx(1.0)
    assert limit.wait_for("globex") == 0.0
    now = 0.5
    assert limit.wait_for("acme") == pytest.approx(0.5)
    now = 2.5
    assert [limit.wait_for("acme"), limit.wait_for("acme")] == [0.0, 0.0]
    assert limit.wait_for("acme") > 0
    now = 1000.0
    assert [limit.wait_for("acme") for _ in range(61)][59:] == [0.0, pytest.approx(1.0)]


def test_no_limit_is_none() -> None:
    limit = RateLimit(0)
    assert {limit.wait_for("acme") for _ in range(10_000)} == {0.0}


def test_tenants_that_asked_long_ago_take_no_room() -> None:
    now = 0.0
    limit = RateLimit(60, clock=lambda: now)
    for n in range(25_000):
        now = n / 100
        limit.wait_for(f"tenant-{n}")
    assert len(limit._buckets) < 11_000


async def test_a_tenant_that_asks_too_often_is_told_when_to_come_back_and_the_others_go_on(alone: World) -> None:
    settings = alone.settings.model_copy(update={"rate_limit_per_minute": 5})
    async with serving(settings) as gateway, client(gateway, ACME) as acme, client(gateway, GLOBEX) as globex:
        answers = [await acme.get("/api/v1/me") for _ in range(7)]
        assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
        assert answers[-1].json()["error"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 13
        assert (await globex.get("/api/v1/me")).status_code == 200
        assert (await acme.get("/api/health")).status_code == 200


async def test_pages_of_other_origins_may_ask_only_where_the_settings_say_so(gateway: Gateway, alone: World) -> None:
    ours = "https://console.example"
    asked = {"origin": ours, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with client(gateway, ACME) as http:
        assert "access-control-allow-origin" not in (await http.get("/api/v1/me", headers={"origin": ours})).headers
    async with (
        serving(alone.settings.model_copy(update={"cors_origins": [ours]})) as open_,
        client(open_, ACME) as http,
    ):
        preflight = await http.options("/api/v1/inventory/sync", headers=asked)
        assert preflight.headers["access-control-allow-origin"] == ours
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        answer = await http.get("/api/v1/me", headers={"origin": ours})
        assert "location" in answer.headers["access-control-expose-headers"]
        stranger = await http.get("/api/v1/me", headers={"origin": "https://elsewhere.example"})
        assert stranger.headers.get("access-control-allow-origin") != "https://elsewhere.example"


async def test_a_fault_of_ours_is_told_without_its_internals(alone: World) -> None:
    await alone.admin.execute("drop function gateway.tenant_resource")
    async with serving(alone.settings) as gateway, client(gateway, ACME) as http:
        with structlog.testing.capture_logs() as logs:
            answer = await http.get(f"/api/v1/inventory/{uuid4()}")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert "tenant_resource" not in answer.text
    (failed,) = [line for line in logs if line["event"] == "request failed"]
    assert failed["id"] == answer.headers["x-request-id"]
    assert "tenant_resource" in failed["error"]


async def test_with_the_database_away_it_says_so_and_goes_on_when_it_is_back(alone: World) -> None:
    async with serving(alone.settings) as gateway, client(gateway, ACME) as http:
        assert (await http.get("/api/v1/inventory")).status_code == 200
        await alone.admin.execute("alter role gateway_tenant connection limit 0")
        try:
            await cut(alone, "arcadia-gateway_tenant")
            away = await http.get("/api/v1/inventory")
        finally:
            await alone.admin.execute("alter role gateway_tenant connection limit -1")
        assert (away.status_code, away.json()["error"]) == (503, "unavailable")
        assert int(away.headers["retry-after"]) > 0
        assert (await http.get("/api/v1/inventory")).json()["count"] == 4


async def answers_of(door: Door) -> tuple[list[Any], str]:
    """What a door sends in answer to a request, and the request's id."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: Any = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}
    await door(scope, receive, send)
    return sent, str(scope["state"]["request_id"])


async def test_a_request_that_takes_too_long_is_answered_all_the_same() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    sent, _ = await answers_of(Door(slow, timeout_s=0.05))
    assert sent[0]["status"] == 503
    assert orjson.loads(sent[1]["body"])["error"] == "unavailable"


@pytest.mark.parametrize(("kind", "whole"), [(b"text/event-stream; charset=utf-8", True), (b"application/json", False)])
async def test_only_a_stream_of_events_outlives_the_time_that_an_answer_may_take(kind: bytes, whole: bool) -> None:
    async def long(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await asyncio.sleep(0.3)
        await send({"type": "http.response.body", "body": b"the end", "more_body": False})

    sent, _ = await answers_of(Door(long, timeout_s=0.05))
    assert ([message["body"] for message in sent[1:]] == [b"the end"]) is whole


async def test_an_answer_that_cannot_be_sent_is_a_fault_that_is_told() -> None:
    async def unsendable(scope: Scope, receive: Receive, send: Send) -> None:
        "\u0416".encode("latin-1")

    with structlog.testing.capture_logs() as lines:
        sent, request_id = await answers_of(Door(unsendable))
    assert (sent[0]["status"], orjson.loads(sent[1]["body"])["error"]) == (500, "internal_error")
    assert [line["id"] for line in lines if line["log_level"] == "error"] == [request_id]
    assert (b"x-request-id", request_id.encode()) in sent[0]["headers"]


async def test_the_command_says_who_asked_by_which_request_and_in_which_trace(alone: World) -> None:
    without = alone.settings.model_copy(
        update={"kafka_bootstrap_servers": ["127.0.0.1:1"]}
    )  # so it stays in the outbox
    request_id, trace = uuid4(), "0af7651916cd43dd8448eb211c80319c"
    headers = {"x-request-id": str(request_id), "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    async with serving(without) as gateway, client(gateway, OPERATOR) as http:
        answer = await http.post("/api/v1/inventory/sync", json={"kind": "droplet"}, headers=headers)
    assert answer.status_code == 202
    row = await alone.admin.fetchrow("select * from gateway.outbox")
    assert row is not None
    envelope = Envelope.model_validate_json(row["payload"])
    assert (row["aggregatetype"], row["aggregateid"]) == ("arcadia.inventory.commands", "droplet")
    assert envelope.type == "arcadia.inventory.sync-inventory.v1"
    assert (envelope.source, envelope.replyto, envelope.expires) == ("/arcadia/gateway", GATEWAY_REPLIES, None)
    assert (envelope.actor, envelope.tenantid) == ("ops@arcadia.test", "platform-admin")
    assert str(envelope.id) == str(envelope.correlationid) == answer.json()["operation"]["id"]
    assert envelope.causationid == request_id
    assert envelope.traceparent is not None
    assert trace in envelope.traceparent


async def test_a_gateway_of_its_own_serves_until_it_is_told_to_stop(alone: World, tmp_path: Path) -> None:
    settings = alone.settings
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
        "KAFKA_PREFIX": settings.kafka_prefix,
        "JWT_SECRETS": orjson.dumps([DEVELOPMENT_SECRET]).decode(),
        "GATEWAY_PORT": "0",
        "LOG_FORMAT": "json",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", "run", "gateway",
        cwd=Path(__file__).parents[2], env=environment, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(30):
            while "url" not in (line := orjson.loads(await process.stderr.readline())) or line["event"] == "health":
                pass
        async with httpx.AsyncClient(base_url=line["url"], trust_env=False) as http:
            assert (await http.get("/api/health")).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_taken_port_is_told_at_once(alone: World, gateway: Gateway) -> None:
    port = int((gateway.url or "").rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        async with serving(alone.settings.model_copy(update={"gateway_port": port})):
            pass
