"""The client against the stand-in, over HTTP: walks of 2,000 droplets through everything that goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dev.digitalocean.control import Control, Requests
from dev.digitalocean.faults import Effect, Fault
from dev.digitalocean.running import RunningStandIn, running_stand_in
from shared.digitalocean import (
    BadAnswer,
    DigitalOcean,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    TokenResolver,
    Unauthorized,
    Unavailable,
    Walk,
)
from shared.digitalocean.client import ATTEMPTS

DROPLETS, GPUS = 2000, 5
LAST_PAGE = 10


@pytest.fixture(scope="module")
def stand_in() -> Iterator[RunningStandIn]:
    with running_stand_in(droplets=DROPLETS, gpus=GPUS, rate_hour=0, rate_minute=0) as running:
        yield running


@pytest.fixture
async def control(stand_in: RunningStandIn) -> AsyncIterator[Control]:
    """The stand-in as it was at its start, without faults."""
    async with stand_in.control() as control:
        await control.reset(
            droplets=DROPLETS, gpus=GPUS, rate_hour=0, rate_minute=0, rate_minute_seconds=60, newest_first=False
        )
        yield control


def connect(stand_in: RunningStandIn, **settings: Any) -> DigitalOcean:
    settings = {"delay_scale": 0.01, "read_timeout": 5.0} | settings
    return DigitalOcean(TokenResolver({"DO_API_TOKEN": stand_in.token}, 0), "sync", base_url=stand_in.url, **settings)


async def ids(walk: Walk) -> list[int]:
    return [row["id"] async for page in walk for row in page]


async def existing(control: Control) -> set[int]:
    return {droplet.id for droplet in (await control.truth()).droplets}


def count(requests: Requests, status: int) -> int:
    return sum(1 for request in requests.requests if request.status == status)


@pytest.mark.usefixtures("control")
async def test_the_whole_fleet_is_walked_with_as_few_requests_as_there_are_pages(
    stand_in: RunningStandIn, control: Control
) -> None:
    async with connect(stand_in) as do:
        walk = do.droplets()
        seen = await ids(walk)
    assert len(seen) == DROPLETS + GPUS
    assert set(seen) == await existing(control)
    assert walk.complete
    assert len((await control.requests("/v2/droplets")).requests) == LAST_PAGE + 1


async def test_projects_and_what_they_hold_are_walked(stand_in: RunningStandIn, control: Control) -> None:
    truth = await control.truth()
    async with connect(stand_in) as do:
        projects = [row["id"] async for page in do.projects() for row in page]
        held = do.project_resources(truth.projects[0].id)
        urns = {row["urn"] async for page in held for row in page}
    assert set(projects) == {project.id for project in truth.projects}
    assert urns == {
        f"do:droplet:{droplet.id}" for droplet in truth.droplets if droplet.project_id == truth.projects[0].id
    }
    assert held.complete


TROUBLES = [
    Fault(effect="hourly", probability=0.4, seed=1),
    Fault(effect="edge_gateway", probability=0.4, seed=2),
    Fault(effect="burst", probability=0.3, seed=3, seconds=0),
    Fault(effect="status", status=500, probability=0.3, seed=4),
    Fault(effect="status", status=502, html=True, probability=0.4, seed=5),
    Fault(effect="reset", probability=0.4, seed=6),
    Fault(effect="hang", seconds=1, count=2, after=3),
    Fault(effect="half_body", probability=0.3, seed=8),
    Fault(effect="half_json", probability=0.3, seed=9),
    Fault(effect="lost", probability=0.3, seed=10),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda fault: f"{fault.effect}-{fault.seed}")
async def test_a_walk_comes_through_passing_trouble_complete(
    stand_in: RunningStandIn, control: Control, trouble: Fault
) -> None:
    await control.arm(trouble)
    async with connect(stand_in, read_timeout=0.5 if trouble.effect == "hang" else 5.0) as do:
        walk = do.droplets()
        seen = await ids(walk)
    assert sum(fault.struck for fault in await control.faults()) > 0
    assert len(seen) == len(set(seen)) == DROPLETS + GPUS
    assert walk.complete


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        ("hourly", RateLimited),
        ("edge_gateway", RateLimited),
        ("burst", RateLimited),
        ("status", Unavailable),
        ("reset", Unavailable),
        ("half_body", Unavailable),
        ("half_json", BadAnswer),
    ],
)
async def test_trouble_that_stays_ends_the_walk_after_a_few_requests_with_growing_waits(
    stand_in: RunningStandIn, control: Control, effect: Effect, error: type[ProviderError]
) -> None:
    await control.arm(Fault(effect=effect, page=3, seconds=0))
    async with connect(stand_in, delay_scale=0.05) as do:
        walk = do.droplets()
        began = time.monotonic()
        with pytest.raises(error):
            await ids(walk)
        elapsed = time.monotonic() - began
    assert not walk.complete
    assert len((await control.requests("/v2/droplets")).requests) == 2 + ATTEMPTS
    assert elapsed >= 0.05 * (ATTEMPTS - 1)


@pytest.mark.parametrize("effect", ["hourly", "edge_gateway"])
async def test_a_storm_without_end_is_no_hot_loop_for_a_job_that_comes_back_as_told(
    stand_in: RunningStandIn, control: Control, effect: Effect
) -> None:
    scale = 0.01
    await control.arm(Fault(effect=effect))
    began = time.time()
    async with connect(stand_in, delay_scale=scale) as do:
        while time.time() - began < 2:
            with pytest.raises(RateLimited) as caught:
                await ids(do.droplets())
            await asyncio.sleep(caught.value.retry_after * scale)
    asked = len((await control.requests("/v2/droplets")).requests)
    # At least 1, 2, 4, 8, 16, 32 and 60 s between them: 200 s, which last 2 here, have room for no more than these.
    assert 5 <= asked <= 10


async def test_the_limit_of_a_minute_is_waited_for_as_told(stand_in: RunningStandIn, control: Control) -> None:
    await control.set(rate_minute=4, rate_minute_seconds=1)
    async with connect(stand_in, delay_scale=1) as do:
        walk = do.droplets()
        assert len(await ids(walk)) == DROPLETS + GPUS
    assert walk.complete
    assert count(await control.requests("/v2/droplets"), 429) <= 4


@pytest.mark.parametrize("newest_first", [False, True])
async def test_rows_removed_while_the_list_is_walked_hide_no_other(
    stand_in: RunningStandIn, control: Control, newest_first: bool
) -> None:
    await control.set(newest_first=newest_first)
    for page in (2, 5, 9):
        await control.arm(Fault(effect="remove", page=page, rows=7, count=1, query={"type": ""}))
    async with connect(stand_in) as do:
        walk = do.droplets()
        seen = await ids(walk)
    assert len(seen) == len(set(seen))
    assert await existing(control) <= set(seen)
    assert walk.complete


@pytest.mark.parametrize("newest_first", [False, True])
async def test_rows_inserted_while_the_list_is_walked_are_no_duplicates(
    stand_in: RunningStandIn, control: Control, newest_first: bool
) -> None:
    before = await existing(control)
    await control.set(newest_first=newest_first)
    for page in (2, 5, 9):
        await control.arm(Fault(effect="insert", page=page, rows=7, count=1, query={"type": ""}))
    async with connect(stand_in) as do:
        walk = do.droplets()
        seen = await ids(walk)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)
    assert walk.complete


@pytest.mark.parametrize("effect", ["omit", "total", "no_links", "no_meta"])
async def test_one_odd_page_costs_a_second_look_and_nothing_else(
    stand_in: RunningStandIn, control: Control, effect: Effect
) -> None:
    await control.arm(Fault(effect=effect, page=4, rows=-50, count=1))
    async with connect(stand_in) as do:
        walk = do.droplets()
        seen = await ids(walk)
    assert len(seen) == DROPLETS + GPUS
    assert walk.complete
    assert len((await control.requests("/v2/droplets")).requests) <= 3 * LAST_PAGE


@pytest.mark.parametrize(
    "fault",
    [
        Fault(effect="total", rows=3),
        Fault(effect="total", rows=-3, probability=0.5),
        Fault(effect="no_meta"),
        Fault(effect="omit", share=0.5, probability=0.5, query={"type": ""}),
        Fault(effect="shuffle"),
        Fault(effect="remove", rows=1, query={"type": ""}),
    ],
    ids=lambda fault: str(fault.effect),
)
async def test_a_list_that_never_agrees_with_itself_is_never_called_complete_unless_all_was_seen(
    stand_in: RunningStandIn, control: Control, fault: Fault
) -> None:
    await control.arm(fault)
    async with connect(stand_in) as do:
        walk = do.droplets()
        seen = await ids(walk)
    assert not walk.complete or await existing(control) <= set(seen)
    assert len((await control.requests("/v2/droplets")).requests) <= 150


async def test_a_create_whose_answer_is_lost_is_made_once_and_reported_as_unknown(
    stand_in: RunningStandIn, control: Control
) -> None:
    await control.arm(Fault(effect="lost", method="POST"))
    async with connect(stand_in) as do:
        with pytest.raises(OutcomeUnknown):
            await do.create_project("skyai-internal", purpose="Operations", environment="Production")
    projects = (await control.truth()).projects
    assert [project.name for project in projects].count("skyai-internal") == 1


async def test_a_create_that_met_the_limit_is_made_once(stand_in: RunningStandIn, control: Control) -> None:
    await control.arm(Fault(effect="hourly", method="POST", count=2))
    async with connect(stand_in) as do:
        project = await do.create_project("skyai-internal", purpose="Operations", environment="Production")
    named = [project.id for project in (await control.truth()).projects if project.name == "skyai-internal"]
    assert named == [project["id"]]


@pytest.mark.usefixtures("control")
async def test_a_token_that_the_provider_refuses_is_unauthorized(stand_in: RunningStandIn) -> None:
    resolver = TokenResolver({"DO_API_TOKEN": "not-a-token"}, 0)
    async with DigitalOcean(resolver, "sync", base_url=stand_in.url) as do:
        with pytest.raises(Unauthorized, match="Unable to authenticate you"):
            await do.account()


@pytest.mark.usefixtures("control")
async def test_the_account_is_read(stand_in: RunningStandIn) -> None:
    async with connect(stand_in) as do:
        assert (await do.account())["status"] == "active"
