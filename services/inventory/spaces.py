"""Spaces, the provider's object storage: how large a bucket is, by listing all that is in it.

Imported only where there are keys for it: the S3 client takes half a second of a process's start, and memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from services.inventory.domain import Measured, SpacesAway, SpacesRefused

REGIONS = ("ams3", "atl1", "blr1", "fra1", "lon1", "nyc3", "sfo2", "sfo3", "sgp1", "syd1", "tor1")
"""Where Spaces are, as the Terraform provider has it: no list of the provider's says so."""


class NoBucket(SpacesRefused):
    """There is no such bucket, in this region."""


@dataclass(frozen=True)
class Spaces:
    """Access to Spaces with a key. `url` has `{region}` for the region; the keys are in no repr."""

    url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session: AioSession = field(default_factory=get_session, repr=False, compare=False)  # reading S3's model takes long

    async def measure(self, bucket: str, region: str | None = None) -> Measured:
        """List a bucket's objects, a thousand at a time. Where it is, is found out, unless `region` is right.

        Raises `NoBucket`, `SpacesRefused`, `SpacesAway`.
        """
        if region:
            try:
                return await self._measure(bucket, region)
            except NoBucket:
                pass  # it may have been made anew elsewhere
        failures: list[SpacesAway | SpacesRefused] = []
        for candidate in REGIONS:
            try:
                return await self._measure(bucket, candidate)
            except NoBucket:
                continue
            except (SpacesAway, SpacesRefused) as error:  # of this region: in another somebody else may have the name
                failures.append(error)
        away = [failure for failure in failures if isinstance(failure, SpacesAway)]
        raise [*away, *failures, NoBucket(f"no region has a bucket {bucket}")][0]

    async def _measure(self, bucket: str, region: str) -> Measured:
        size = objects = 0
        async with self._client(region) as client:
            with _explained(bucket, region):
                async for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                    found = page.get("Contents", [])
                    objects += len(found)
                    size += sum(entry["Size"] for entry in found)
        return Measured(region, size, objects)

    @asynccontextmanager
    async def _client(self, region: str) -> AsyncIterator[Any]:
        options = {
            "endpoint_url": self.url.format(region=region),
            "region_name": region,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "config": _CONFIG,
        }
        async with self.session.create_client("s3", **options) as client:
            yield client


_CONFIG = AioConfig(
    connect_timeout=5,
    read_timeout=30,
    retries={"max_attempts": 2, "mode": "standard"},  # then the job is put off
    # Spaces have no checksums of the newer kind; the client's default asks for them since 2025.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)

_NO_BUCKET = frozenset({"NoSuchBucket", "404", "PermanentRedirect", "AuthorizationHeaderMalformed"})


@contextmanager
def _explained(bucket: str, region: str) -> Iterator[None]:
    """Errors in our words, without what the provider says beside its code: that may quote a key."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = f"Spaces in {region} answered {status} {code} for the bucket {bucket}"
        if code in _NO_BUCKET:
            raise NoBucket(said) from None
        raise (SpacesAway if status >= 500 or status == 429 else SpacesRefused)(said) from None
    except ParamValidationError:
        raise SpacesRefused(f"{bucket!r} is no name of a bucket") from None
    except BotoCoreError as error:
        raise SpacesAway(f"Spaces in {region} did not answer for the bucket {bucket}: {type(error).__name__}") from None
