"""How large a bucket is: listed by S3 from a real S3 server, moto's, behind a door that knows regions."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from pydantic import SecretStr
from werkzeug.serving import make_server

from contracts.inventory import MeasureBucket
from contracts.kinds import ResourceKind
from dev.digitalocean.running import RunningStandIn
from services.inventory import told
from shared.config import Settings
from tests.inventory.world import Inventory, at_the_stand_in, numbers, world

BUCKET = ResourceKind.SPACES_BUCKET
REGION = "fra1"
ACCOUNT = "123456789012"  # moto's


@dataclass
class Door:
    """Lets requests for one region through to moto, and knows no bucket elsewhere. `broken`: by bucket, a status."""

    moto: Any
    broken: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        region, bucket = str(environ["PATH_INFO"]).strip("/").split("/")[:2]
        self.asked.append(f"{region}/{bucket}")
        status = self.broken.get(bucket, 200 if region == REGION else 404)
        if status != 200:
            code = {404: "NoSuchBucket", 403: "AccessDenied"}.get(status, "SlowDown")
            start_response(f"{status} No", [("content-type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>key {SECRET_KEY}</Message></Error>".encode()]
        for name in ("PATH_INFO", "RAW_URI", "REQUEST_URI"):
            environ[name] = str(environ[name]).removeprefix(f"/{region}")
        answer: Iterable[bytes] = self.moto(environ, start_response)
        return answer


SECRET_KEY = "spaces-s3cret"


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[Door, str]]:
    """The door, and the address that has `{region}` in it."""
    door = Door(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, door, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield door, f"http://127.0.0.1:{server.server_port}/{{region}}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def s3(door: tuple[Door, str]) -> Any:
    url = door[1].format(region=REGION)
    door[0].broken.clear()
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key=SECRET_KEY
    )


@pytest.fixture
async def spaced(
    settings: Settings, provider: RunningStandIn, door: tuple[Door, str], s3: Any
) -> AsyncIterator[Inventory]:
    """A service with keys for Spaces."""
    keys = {"spaces_access_key_id": SecretStr("key"), "spaces_secret_access_key": SecretStr(SECRET_KEY)}
    fitting = at_the_stand_in(settings, provider.url, spaces_url=door[1], **keys)
    async with provider.control() as control, world(fitting, control) as inventory:
        yield inventory


async def bucket(inventory: Inventory) -> Any:
    (row,) = await inventory.resources(f"kind = '{BUCKET}'")
    return row


async def measured(inventory: Inventory) -> Any:
    """The bucket once the measurement that a sync orders is done."""
    began = datetime.now(UTC)
    await inventory.sync(BUCKET)
    await inventory.until("select count(*) = 1 from bucket_measurements where tried_at > $1", began)
    return await bucket(inventory)


async def test_without_keys_a_buckets_size_is_unknown_and_not_nothing(inventory: Inventory) -> None:
    await inventory.provider.add_thing("buckets", name="acme-assets")
    result = await inventory.sync(BUCKET)
    assert numbers(result, BUCKET, "seen", "discovered", "complete") == [1, 1, True]
    row = await bucket(inventory)
    assert (row["name"], row["region"]) == ("acme-assets", None)
    assert (row["attrs"]["size_bytes"], row["attrs"]["size_gb"], row["attrs"]["size_unknown"]) == (None, None, True)
    assert not await inventory.fetch("select from jobs where name like '%measure-bucket%'")
    refused = await inventory.ask(MeasureBucket(bucket="acme-assets"))
    assert (refused.status, refused.code) == ("refused", "no_spaces_keys")


async def test_a_bucket_is_measured_object_by_object_and_found_in_its_region(
    spaced: Inventory, s3: Any, door: tuple[Door, str]
) -> None:
    s3.create_bucket(Bucket="acme-assets")
    for n in range(1005):  # more than a page; past HTTP, which would take a while
        s3_backends[ACCOUNT]["aws"].put_object("acme-assets", f"{n}", b"x" * 10)
    await spaced.provider.add_thing("buckets", name="acme-assets")

    row = await measured(spaced)

    assert row["region"] == REGION
    attrs = row["attrs"]
    assert (attrs["size_bytes"], attrs["objects"], attrs["size_unknown"]) == (10_050, 1005, False)
    assert attrs["size_gb"] == 10_050 / 2**30
    changes = await spaced.fetch("select changes from cloud_resource_events where event_type = 'updated'")
    fields = {"region", "attrs.size_bytes", "attrs.size_gb", "attrs.objects", "attrs.size_unknown"}
    assert [set(row["changes"]) for row in changes] == [fields]
    (state,) = [m.data["resource"] for m in await spaced.published(2) if m.sequence == 2]
    assert [interval["size_gb"] for interval in state["sizes"]] == [None, attrs["size_gb"]]

    # Once a day is enough, in the region where it is; and syncs meanwhile keep what was measured.
    door[0].asked.clear()
    await spaced.sync(BUCKET)
    assert (await bucket(spaced))["attrs"] == attrs
    assert door[0].asked == []
    s3.delete_object(Bucket="acme-assets", Key="0")
    door[0].asked.clear()
    await spaced.fetch("update bucket_measurements set tried_at = tried_at - $1::interval", told.MEASURED_EVERY)
    assert (await measured(spaced))["attrs"]["size_bytes"] == 10_040
    assert set(door[0].asked) == {f"{REGION}/acme-assets"}


async def test_a_bucket_that_may_not_be_listed_is_flagged_and_keeps_its_size(
    spaced: Inventory, s3: Any, door: tuple[Door, str]
) -> None:
    s3.create_bucket(Bucket="closed")
    s3.put_object(Bucket="closed", Key="k", Body=b"1234")
    await spaced.provider.add_thing("buckets", name="closed")
    assert (await measured(spaced))["attrs"]["size_bytes"] == 4

    door[0].broken["closed"] = 403
    await spaced.fetch("update bucket_measurements set tried_at = tried_at - $1::interval", told.MEASURED_EVERY)
    await measured(spaced)
    await spaced.sync(BUCKET)

    attrs = (await bucket(spaced))["attrs"]
    assert (attrs["size_bytes"], attrs["size_unknown"]) == (4, False)
    assert attrs["measuring_failed"] == "Spaces in fra1 answered 403 AccessDenied for the bucket closed"


async def test_a_bucket_that_is_in_no_region_is_unknown(spaced: Inventory, door: tuple[Door, str]) -> None:
    await spaced.provider.add_thing("buckets", name="nowhere")
    await measured(spaced)
    await spaced.sync(BUCKET)
    attrs = (await bucket(spaced))["attrs"]
    assert (attrs["size_unknown"], attrs["measuring_failed"]) == (True, "no region has a bucket nowhere")


async def test_spaces_that_are_away_put_the_measuring_off_and_nothing_else(
    spaced: Inventory, s3: Any, door: tuple[Door, str]
) -> None:
    s3.create_bucket(Bucket="slow")
    door[0].broken["slow"] = 503
    await spaced.provider.add_thing("buckets", name="slow")
    assert numbers(await spaced.sync(BUCKET), BUCKET, "discovered", "complete") == [1, True]
    await spaced.until("select count(*) = 1 from jobs where name like '%measure-bucket%' and put_offs > 0", seconds=60)
    assert not await spaced.fetch("select from bucket_measurements")
    await spaced.sync(BUCKET)
    await spaced.sync(BUCKET)
    assert len(await spaced.fetch("select from jobs where name like '%measure-bucket%'")) == 1, "orders pile up"
    door[0].broken.clear()
    await spaced.fetch("update jobs set run_at = now() where status = 'queued'")
    await spaced.until("select count(*) = 1 from bucket_measurements")
    assert (await bucket(spaced))["attrs"]["size_bytes"] == 0


async def test_a_bucket_that_was_measured_lately_is_not_measured_again(
    spaced: Inventory, s3: Any, door: tuple[Door, str]
) -> None:
    s3.create_bucket(Bucket="once")
    await spaced.provider.add_thing("buckets", name="once")
    await measured(spaced)
    door[0].asked.clear()
    assert (await spaced.ok(MeasureBucket(bucket="once")))["measured_already"] is True
    assert door[0].asked == []


def test_a_bucket_has_one_order_a_day_until_it_is_measured() -> None:
    """An order that was refused, or failed for good, is not the last."""
    today = datetime(2026, 5, 1, 12, tzinfo=UTC)
    ids = [told.order_id("one", measured, now) for measured in (None, {"tried_at": today}) for now in (
        today, today + timedelta(hours=3), today + timedelta(days=1))]  # fmt: skip
    assert ids[0] == ids[1]
    assert ids[3] == ids[4]
    assert len(set(ids)) == 4


async def test_what_is_no_buckets_name_is_no_outage(spaced: Inventory) -> None:
    assert (await spaced.ok(MeasureBucket(bucket="a b")))["error"] == "'a b' is no name of a bucket"


async def test_a_bucket_of_a_deleted_ones_name_has_not_its_size(spaced: Inventory, s3: Any) -> None:
    s3.create_bucket(Bucket="again")
    s3.put_object(Bucket="again", Key="k", Body=b"1234")
    made = await spaced.provider.add_thing("buckets", name="again")
    assert (await measured(spaced))["attrs"]["size_bytes"] == 4
    await spaced.provider.delete_thing("buckets", made.id)
    for _ in range(3):
        await spaced.sync(BUCKET)
    assert (await bucket(spaced))["deleted_at"]

    await spaced.provider.add_thing("buckets", name="again")
    await spaced.sync(BUCKET)
    attrs = (await bucket(spaced))["attrs"]
    assert (attrs["size_bytes"], attrs["size_unknown"]) == (None, True)


async def test_a_bucket_that_no_project_lists_is_measured_and_not_discovered(spaced: Inventory, s3: Any) -> None:
    s3.create_bucket(Bucket="foreign")
    assert (await spaced.ok(MeasureBucket(bucket="foreign")))["size_bytes"] == 0
    assert await spaced.resources() == []
