"""One call: what is repeated, what never is, and what the caller is told."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import orjson
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from shared.digitalocean import (
    BadAnswer,
    DigitalOcean,
    Forbidden,
    MissingToken,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    TokenResolver,
    TooLate,
    Unauthorized,
    Unavailable,
)
from shared.digitalocean.call import Call
from shared.digitalocean.client import ATTEMPTS, LONGEST_WAIT
from shared.digitalocean.metrics import observed
from tests.shared.digitalocean.scripted import TOKEN, Script, client

OK = httpx.Response(200, json={"droplet": {"id": 1}})
STORM = httpx.Response(429, json={"id": "too_many_requests", "message": "API rate limit exceeded."})
WRITES = ["POST", "PUT", "PATCH", "DELETE"]
AMBIGUOUS: list[httpx.Response | Exception] = [
    httpx.Response(500, json={"id": "server_error", "message": "Unexpected server-side error"}),
    httpx.Response(502, text="<html>Bad Gateway</html>"),
    httpx.Response(504),
    httpx.ReadTimeout("too slow"),
    httpx.WriteTimeout("too slow"),
    httpx.ReadError("reset by peer"),
    httpx.RemoteProtocolError("server disconnected without sending a response"),
    httpx.Response(200, text='{"droplet": {"id":'),
]
NOT_SENT: list[Exception] = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("too slow"),
    httpx.PoolTimeout("no connection free"),
]


def refusal(status: int, body: Any = None, **headers: str) -> httpx.Response:
    body = {"id": "some_id", "message": "Some message."} if body is None else body
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


async def read(script: Script, **settings: Any) -> dict[str, Any]:
    async with client(script, **settings) as do:
        return await do.get("/v2/droplets/{droplet_id}", droplet_id=1)


async def write(script: Script, method: str = "POST") -> dict[str, Any]:
    async with client(script) as do:
        return await do.send(method, "/v2/droplets", json={"name": "web-1"})


@pytest.mark.parametrize("trouble", [*AMBIGUOUS, *NOT_SENT, STORM], ids=repr)
async def test_a_read_is_tried_again_after_trouble(trouble: httpx.Response | Exception) -> None:
    script = Script(trouble, trouble, OK)
    assert await read(script) == {"droplet": {"id": 1}}
    assert len(script.requests) == 3


@pytest.mark.parametrize("trouble", [*AMBIGUOUS[:-1], *NOT_SENT], ids=repr)
async def test_a_read_that_keeps_failing_is_unavailable(trouble: httpx.Response | Exception) -> None:
    script = Script(trouble)
    with pytest.raises(Unavailable):
        await read(script)
    assert len(script.requests) == ATTEMPTS


@pytest.mark.parametrize("text", ["<html>Maintenance</html>", "[]", ""])
async def test_a_read_that_is_never_a_json_object_is_a_bad_answer(text: str) -> None:
    with pytest.raises(BadAnswer, match="not a JSON object"):
        await read(Script(httpx.Response(200, text=text)))


async def test_a_write_whose_turn_comes_after_its_deadline_is_not_sent() -> None:
    script = Script(OK)
    async with client(script) as do:
        with pytest.raises(TooLate):
            await do.send("POST", "/v2/droplets", deadline=time.monotonic() - 1)
        assert script.requests == []
        await do.send("POST", "/v2/droplets", deadline=time.monotonic() + 60)


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("trouble", AMBIGUOUS, ids=repr)
async def test_a_write_whose_outcome_is_unknown_is_never_sent_again(
    method: str, trouble: httpx.Response | Exception
) -> None:
    script = Script(trouble, OK)
    with pytest.raises(OutcomeUnknown, match="may have taken effect"):
        await write(script, method)
    assert len(script.requests) == 1


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("trouble", [*NOT_SENT, STORM], ids=repr)
async def test_a_write_that_cannot_have_had_an_effect_is_sent_again(
    method: str, trouble: httpx.Response | Exception
) -> None:
    script = Script(trouble, OK)
    assert await write(script, method) == {"droplet": {"id": 1}}
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, Refused),
        (409, Refused),
        (412, Refused),
        (422, Refused),
    ],
)
@pytest.mark.parametrize("method", ["GET", *WRITES])
async def test_a_refusal_is_told_at_once_by_its_status(method: str, status: int, error: type[ProviderError]) -> None:
    script = Script(refusal(status, x_request_id="r-1"))
    with pytest.raises(error) as caught:
        await (read(script) if method == "GET" else write(script, method))
    assert len(script.requests) == 1
    told = caught.value
    assert (told.status, told.error_id, told.message, told.request_id) == (status, "some_id", "Some message.", "r-1")
    assert (told.method, told.path) == (method, "/v2/droplets/1" if method == "GET" else "/v2/droplets")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"id": "", "message": "Too many"}, "Too many"),
        ({"error": "Bad", "messages": ["a is wrong"], "root_causes": []}, "['a is wrong']"),
        ({"error": "Bad"}, "Bad"),
        (["odd"], '["odd"]'),
        ({"message": f"token {TOKEN} is revoked"}, "token [redacted] is revoked"),
    ],
)
async def test_the_provider_s_words_are_kept_in_whatever_shape_they_come(body: Any, message: str) -> None:
    with pytest.raises(Refused) as caught:
        await read(Script(refusal(422, body, x_request_id="header")))
    assert (caught.value.message, caught.value.request_id) == (message, "header")


async def test_an_error_need_not_be_json() -> None:
    with pytest.raises(Refused, match="<html>no</html>"):
        await read(Script(httpx.Response(422, text="<html>no</html>")))


async def test_no_body_is_an_empty_answer() -> None:
    assert await write(Script(httpx.Response(204)), "DELETE") == {}


async def test_ids_are_quoted_into_the_path_and_kept_out_of_the_metrics() -> None:
    script = Script(OK)
    async with client(script) as do:
        await do.get("/v2/tags/{tag}", tag="a/../b?c")
    assert script.requests[0].url.raw_path == b"/v2/tags/a%2F..%2Fb%3Fc"
    labels = {"method": "GET", "route": "/v2/tags/{tag}"}
    assert REGISTRY.get_sample_value("arcadia_provider_calls_total", {**labels, "status": "200"}) == 1
    assert REGISTRY.get_sample_value("arcadia_provider_call_seconds_count", labels) == 1


async def test_a_write_carries_json() -> None:
    script = Script(OK)
    await write(script)
    assert orjson.loads(script.requests[0].content) == {"name": "web-1"}
    assert script.requests[0].headers["content-type"] == "application/json"


async def test_each_attempt_is_traced_without_ids_and_without_the_token() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    call = Call.of("GET", "/v2/droplets/{droplet_id}", droplet_id=1)
    with observed(call, "provider.example", provider.get_tracer("test")) as observation:
        observation.status = 404
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.status.is_ok) == ("GET /v2/droplets/{droplet_id}", False)
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.response.status_code": 404,
        "server.address": "provider.example",
        "url.template": "/v2/droplets/{droplet_id}",
    }


async def test_the_metrics_say_what_the_budget_has_left() -> None:
    headers = {"ratelimit-limit": "5000", "ratelimit-remaining": "4321"}
    script = Script(httpx.Response(200, json={}, headers=headers))
    async with client(script, "billing", rate_share=1) as do:
        await do.get("/v2/customers/my/balance")
    labels = {"purpose": "billing"}
    assert REGISTRY.get_sample_value("arcadia_provider_rate_budget_remaining", labels) == 4321
    assert REGISTRY.get_sample_value("arcadia_provider_rate_budget_waiting", labels) == 0


async def test_a_storm_with_the_reset_in_the_past_is_met_by_growing_waits() -> None:
    past = str(int(time.time()) - 3597)
    script = Script(refusal(429, ratelimit_remaining="0", ratelimit_limit="5000", ratelimit_reset=past))
    began = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        await read(script, delay_scale=0.02)
    assert len(script.requests) == ATTEMPTS
    assert time.monotonic() - began >= 0.02 * (1 + 2 + 4 + 8)
    assert caught.value.retry_after >= 1


@pytest.mark.parametrize("retry_after", ["0", "-5", "nan", "inf", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", ""])
async def test_a_senseless_retry_after_does_not_make_a_hot_loop(retry_after: str) -> None:
    script = Script(refusal(429, retry_after=retry_after))
    began = time.monotonic()
    with pytest.raises(RateLimited):
        await read(script, delay_scale=0.02)
    assert time.monotonic() - began >= 0.02 * 4
    assert len(script.requests) == ATTEMPTS


async def test_retry_after_is_honoured() -> None:
    script = Script(refusal(429, retry_after="20"), OK)
    began = time.monotonic()
    await read(script, delay_scale=0.01)
    assert 0.2 <= time.monotonic() - began < 1


async def test_a_reset_in_the_future_is_honoured() -> None:
    script = Script(refusal(429, ratelimit_reset=str(int(time.time()) + 30)), OK)
    began = time.monotonic()
    await read(script, delay_scale=0.01)
    assert 0.28 <= time.monotonic() - began < 1


async def test_a_wait_longer_than_a_call_may_last_is_handed_to_the_caller() -> None:
    script = Script(refusal(429, ratelimit_reset=str(int(time.time()) + 1800)))
    async with client(script, delay_scale=1) as do:
        for _ in range(3):
            with pytest.raises(RateLimited) as caught:
                await do.account()
            assert LONGEST_WAIT < 1790 < caught.value.retry_after < 1802
    assert len(script.requests) == 1, "the later calls know without asking"


async def test_a_reset_further_away_than_the_longest_window_is_not_believed() -> None:
    with pytest.raises(RateLimited) as caught:
        await read(Script(refusal(429, ratelimit_reset=str(int(time.time()) + 10**9))))
    assert 3600 <= caught.value.retry_after <= 3601


async def test_all_who_use_the_token_wait_when_one_is_told_to() -> None:
    script = Script(refusal(429, retry_after="20"), OK)
    async with client(script, delay_scale=0.01) as do:
        began = time.monotonic()
        first = asyncio.create_task(do.get("/v2/account"))
        await asyncio.sleep(0.02)
        await asyncio.gather(*(do.get("/v2/account") for _ in range(10)))
        assert time.monotonic() - began >= 0.2
        await first


async def test_a_storm_slows_all_who_use_the_token_together() -> None:
    script = Script(STORM)
    async with client(script, delay_scale=0.002) as do:
        began = time.monotonic()
        calls = [do.get("/v2/account") for _ in range(3)]
        failed = await asyncio.gather(*calls, return_exceptions=True)
        elapsed = time.monotonic() - began
    assert all(isinstance(error, RateLimited) for error in failed)
    assert len(script.requests) <= 3 * ATTEMPTS
    assert elapsed >= 0.002 * (1 + 2 + 4 + 8 + 16 + 32 + 60)


async def test_an_answer_that_drips_for_ever_is_given_up() -> None:
    class Dripping(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            while True:
                await asyncio.sleep(0.01)
                yield b" "

    tokens = TokenResolver({"DO_API_TOKEN": TOKEN}, 0)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Dripping()))
    async with DigitalOcean(tokens, "sync", delay_scale=0.001, attempt_timeout=0.1, transport=transport) as do:
        with pytest.raises(Unavailable, match="TimeoutError"):
            await do.get("/v2/account")


async def test_call_timeout_covers_every_attempt_and_wait() -> None:
    async with client(Script(OK)) as do:
        assert do.call_timeout >= 120 + 2 * LONGEST_WAIT + 35


@pytest.mark.parametrize(
    ("environ", "token"),
    [
        ({"DO_SYNC_TOKEN": "own", "DO_API_TOKEN": "shared"}, "own"),
        ({"DO_SYNC_TOKEN": "", "DO_API_TOKEN": "shared"}, "shared"),
        ({"DO_BILLING_TOKEN": "other", "DO_API_TOKEN": " shared\n"}, "shared"),
    ],
)
async def test_a_purpose_uses_its_own_token_or_the_shared_one(environ: dict[str, str], token: str) -> None:
    script = Script(OK)
    async with DigitalOcean(TokenResolver(environ, 0), "sync", transport=httpx.MockTransport(script)) as do:
        await do.get("/v2/account")
    assert script.requests[0].headers["authorization"] == f"Bearer {token}"


async def test_a_missing_token_names_the_variables_to_set() -> None:
    script = Script(OK)
    async with DigitalOcean(TokenResolver({}), "provisioning", transport=httpx.MockTransport(script)) as do:
        with pytest.raises(MissingToken, match="DO_PROVISIONING_TOKEN or DO_API_TOKEN"):
            await do.get("/v2/account")
    assert not script.requests


@pytest.mark.parametrize("token", ["two words", "tab\tbed", "new\nline", "ünïcode"])
async def test_a_malformed_token_is_refused_without_being_shown(token: str) -> None:
    resolver = TokenResolver({"DO_API_TOKEN": token})
    async with DigitalOcean(resolver, "sync", transport=httpx.MockTransport(Script(OK))) as do:
        with pytest.raises(MissingToken, match="DO_API_TOKEN is not a token") as caught:
            await do.get("/v2/account")
    assert token not in str(caught.value)


async def test_a_token_is_in_no_repr_and_no_error() -> None:
    tokens = TokenResolver({"DO_API_TOKEN": TOKEN})
    async with DigitalOcean(tokens, "sync", delay_scale=0, transport=httpx.MockTransport(Script(STORM))) as do:
        with pytest.raises(RateLimited) as caught:
            await do.get("/v2/account")
        shown = [repr(do), repr(tokens), repr(tokens.credential("sync")), repr(caught.value), str(caught.value)]
    assert not [text for text in shown if TOKEN in text]


@pytest.mark.parametrize("url", ["api.digitalocean.com", "ftp://x", "https://", "https://x/v2"])
def test_an_address_that_cannot_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="DO_API_URL"):
        client(Script(OK), base_url=url)


async def test_a_project_is_created_and_returned() -> None:
    script = Script(httpx.Response(201, json={"project": {"id": "p-1", "name": "skyai-internal"}}))
    async with client(script) as do:
        project = await do.create_project("skyai-internal", purpose="Operations", environment="Production")
    assert project["id"] == "p-1"
    assert orjson.loads(script.requests[0].content)["environment"] == "Production"


async def test_a_created_thing_that_is_not_in_the_answer_leaves_the_outcome_unknown() -> None:
    async with client(Script(httpx.Response(201, json={}))) as do:
        with pytest.raises(OutcomeUnknown):
            await do.create_project("a", purpose="b", environment="Production")


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_an_id_that_would_shorten_the_path_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="id is no id"):
        Call.of("DELETE", "/v2/droplets/{id}", id=id)
