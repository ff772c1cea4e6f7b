"""The client of DigitalOcean's API: one call, sent within the rate budget, repeated only where that is safe."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, Self

import httpx
import orjson
import stamina

from shared.digitalocean.answers import decoded, failure, rate_limited, told_wait, undecided, unreadable
from shared.digitalocean.budget import FIRST_BACKOFF, LONGEST_BACKOFF, RateBudget
from shared.digitalocean.call import Call
from shared.digitalocean.errors import BadAnswer, MissingToken, NotFound, RateLimited, Refused, TooLate, Unavailable
from shared.digitalocean.metrics import BUDGET_REMAINING, BUDGET_WAITING, observed
from shared.digitalocean.tokens import Credential, NoToken, Purpose, TokenResolver
from shared.digitalocean.walk import Body, Listing, Walk

API_URL = "https://api.digitalocean.com"

ATTEMPTS = 5
# Seconds. The longest wait for a slot in the minute's window is 61; what takes longer is the job's to put off.
LONGEST_WAIT = 75.0
RETRY_FOR = 120.0
DOWNLOAD_FOR = 300.0


class DigitalOcean:
    """One purpose's access to the provider. Use it as an async context manager; many tasks may share it.

    Time-outs are in seconds: `read_timeout` is for each part of an answer, `attempt_timeout` for all of it. `attempts`
    is how often a call is tried in all, and `longest_wait` how long it waits for its turn in the rate budget.
    `delay_scale` shortens this client's own waits between attempts (for tests against a stand-in). `transport`
    replaces the network (for tests without one).
    """

    def __init__(
        self,
        tokens: TokenResolver,
        purpose: Purpose,
        *,
        base_url: str = API_URL,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        attempt_timeout: float = 45.0,
        attempts: int = ATTEMPTS,
        longest_wait: float = LONGEST_WAIT,
        delay_scale: float = 1.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = _checked(base_url)
        self._tokens = tokens
        self._purpose = purpose
        self._host = url.host
        self.attempt_timeout = attempt_timeout
        self._attempts = attempts
        self._longest_wait = longest_wait
        self._delay_scale = delay_scale
        self._retrying = stamina.AsyncRetryingCaller(
            attempts=attempts,
            timeout=RETRY_FOR,
            wait_initial=FIRST_BACKOFF * delay_scale,
            wait_jitter=FIRST_BACKOFF * delay_scale,
            wait_max=LONGEST_BACKOFF * delay_scale,
        ).on(self._backoff)
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(read_timeout, connect=connect_timeout, pool=connect_timeout),
            headers={"Accept": "application/json", "User-Agent": "arcadia-cloud"},
            follow_redirects=False,  # a redirect would carry the token to wherever it points
            trust_env=not _is_loopback(url.host),  # no proxy between us and a stand-in on this machine
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"DigitalOcean(purpose={self._purpose!r}, base_url={str(self._http.base_url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @property
    def call_timeout(self) -> float:
        """The longest that one call may take, in seconds, with all its attempts and waits. Lease jobs for longer."""
        last_attempt = self._longest_wait + self.attempt_timeout  # its slot, itself
        return (
            last_attempt if self._attempts == 1 else RETRY_FOR + self._longest_wait + last_attempt
        )  # and its back-off

    def droplets(self) -> Walk:
        """All droplets. Two lists, since the default one leaves out those with GPUs."""
        plain = Call.of("GET", "/v2/droplets")
        gpus = Call.of("GET", "/v2/droplets", params={"type": "gpus"})
        return Walk(self._perform, [Listing(plain, "droplets"), Listing(gpus, "droplets")])

    def projects(self) -> Walk:
        """All projects that the token may see."""
        return self.walk("/v2/projects", "projects")

    def project_resources(self, project_id: str) -> Walk:
        """What a project holds: rows of `urn`, `assigned_at`, `status`."""
        return self.walk("/v2/projects/{project_id}/resources", "resources", identity="urn", project_id=project_id)

    def registries(self) -> Walk:
        """The container registries: in one list since an account may have several, one by itself before that."""
        call = Call.of("GET", "/v2/registries")
        return Walk(self._registries, [Listing(call, "registries", "name", paginated=False)])

    async def _registries(self, call: Call) -> Body:
        with suppress(NotFound):
            return await self._perform(call)
        with suppress(NotFound):
            return {"registries": [await self._single("registry", Call.of("GET", "/v2/registry"))]}
        return {"registries": []}

    async def registry(self, name: str) -> Body:
        """A container registry by its name, also where an account has but one. Raises `NotFound`."""
        try:
            return await self._single("registry", Call.of("GET", "/v2/registries/{name}", name=name))
        except NotFound:
            with suppress(NotFound, Refused):  # (where there are several, the old route refuses to answer)
                only = await self._single("registry", Call.of("GET", "/v2/registry"))
                if only.get("name") == name:
                    return only
            raise

    async def create_project(self, name: str, *, purpose: str, environment: str, description: str = "") -> Body:
        """Creates a project and returns it. `environment` is Development, Staging or Production."""
        fields = {"name": name, "purpose": purpose, "environment": environment, "description": description}
        return await self._single("project", Call.of("POST", "/v2/projects", json=fields))

    async def account(self) -> Body:
        """The account that the token belongs to, with its `droplet_limit` and `status`."""
        return await self._single("account", Call.of("GET", "/v2/account"))

    def walk(
        self,
        route: str,
        key: str,
        *,
        params: Mapping[str, str] | None = None,
        identity: str = "id",
        paginated: bool = True,
        **ids: object,
    ) -> Walk:
        """All rows of a list, which is under `key` in each answer; `identity` names the field that tells rows apart.

        `paginated` False is for the few lists that come whole and without `meta`, such as `/v2/databases`.
        """
        call = Call.of("GET", route, params=params, **ids)
        return Walk(self._perform, [Listing(call, key, identity, paginated)])

    async def get(self, route: str, *, params: Mapping[str, str] | None = None, **ids: object) -> Body:
        """Reads one thing: `await do.get("/v2/droplets/{droplet_id}", droplet_id=1)`."""
        return await self._perform(Call.of("GET", route, params=params, **ids))

    async def download(self, route: str, into: IO[bytes], **ids: object) -> None:
        """Reads a file into another, which it empties first: also where it was read in part before."""
        await self._retrying(self._attempt, Call.of("GET", route, None, None, **ids), math.inf, into)

    async def single(self, key: str, route: str, **ids: object) -> Body:
        """Reads one thing, which is under `key` in the answer."""
        return await self._single(key, Call.of("GET", route, None, None, **ids))

    async def send(
        self,
        method: str,
        route: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        deadline: float = math.inf,
        **ids: object,
    ) -> Body:
        """Writes (POST, PUT, PATCH, DELETE) and returns the answer's body, empty where there is none (204).

        Never sent again once it may have had an effect: raises `OutcomeUnknown` then. Nor begun after `deadline` (of
        `time.monotonic`): raises `TooLate` then.
        """
        return await self._perform(Call.of(method, route, params=params, json=json, **ids), deadline)

    async def _single(self, key: str, call: Call) -> Body:
        body = await self._perform(call)
        thing = body.get(key)
        if not isinstance(thing, dict):
            raise unreadable(call, f"the answer has no object {key!r}", status=200)
        return thing

    async def _perform(self, call: Call, deadline: float = math.inf) -> Body:
        return await self._retrying(self._attempt, call, deadline)

    def _backoff(self, error: Exception) -> bool | float:
        """Whether to try again, or after how many seconds. Not `OutcomeUnknown`, nor anything that was decided."""
        if isinstance(error, RateLimited):
            return error.retry_after <= self._longest_wait and error.retry_after * self._delay_scale
        return isinstance(error, Unavailable | BadAnswer)

    async def _attempt(self, call: Call, deadline: float, into: IO[bytes] | None = None) -> Body:
        credential = self._credential(call)
        await self._take_slot(call, credential.budget)
        sent_at = time.monotonic()
        if sent_at > deadline:
            raise TooLate(call, "not sent: its deadline passed while it waited for its turn")
        with observed(call, self._host) as observation:
            answer = await self._exchange(call, credential.token, into)
            observation.status = answer.status_code
        _learn(answer, credential.budget)
        BUDGET_REMAINING.labels(self._purpose).set(credential.budget.remaining)
        if answer.is_success:
            return decoded(call, answer) if into is None else {}
        if answer.status_code == 429:
            wait = credential.budget.refused(sent_at, told_wait(answer))
            credential.budget.hold(wait * self._delay_scale)
            raise rate_limited(call, answer, wait)
        raise failure(call, answer)

    def _credential(self, call: Call) -> Credential:
        try:
            return self._tokens.credential(self._purpose)
        except NoToken as error:
            raise MissingToken(call, str(error)) from None

    async def _take_slot(self, call: Call, budget: RateBudget) -> None:
        with BUDGET_WAITING.labels(self._purpose).track_inprogress():
            wait = await budget.take(self._longest_wait)
        if wait:
            raise RateLimited(call, f"not sent: the rate budget is spent for {wait:.0f} s", retry_after=wait)

    async def _exchange(self, call: Call, token: str, into: IO[bytes] | None) -> httpx.Response:
        content = None if call.json is None else orjson.dumps(call.json)
        headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": "application/json"} if content else {})
        headers |= {"Accept": "*/*"} if into else {}
        request = self._http.build_request(call.method, call.path, params=call.params, content=content, headers=headers)
        try:
            async with asyncio.timeout(self.attempt_timeout if into is None else DOWNLOAD_FOR):
                if into is None:
                    return await self._http.send(request)
                return await self._saved(await self._http.send(request, stream=True), into)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(call, f"not reached: {_reason(error)}") from error
        except (httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
            raise undecided(call, f"no answer: {_reason(error)}") from error

    async def _saved(self, answer: httpx.Response, into: IO[bytes]) -> httpx.Response:
        """The answer, whose body is in the file where it is one of success."""
        try:
            if not answer.is_success:
                await answer.aread()
                return answer
            into.seek(0)
            into.truncate()
            async for part in answer.aiter_bytes():
                into.write(part)
            return answer
        finally:
            await answer.aclose()


def _learn(answer: httpx.Response, budget: RateBudget) -> None:
    """What others use of the token. Not from a 429: that says 0 remaining, whatever is left of the hour."""
    limit, remaining = (answer.headers.get(f"ratelimit-{name}", "") for name in ("limit", "remaining"))
    if answer.status_code != 429:
        budget.answered()
        if limit.isdecimal() and remaining.isdecimal():
            budget.observe(int(limit), int(remaining))


def _checked(base_url: str) -> httpx.URL:
    url = httpx.URL(base_url)
    if url.scheme not in {"http", "https"} or not url.host or url.path not in {"", "/"}:
        raise ValueError(f"DO_API_URL must be like {API_URL}, without /v2: {base_url!r} is not")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
