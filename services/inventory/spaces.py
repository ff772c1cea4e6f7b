"""Spaces, the provider's object storage: how large a bucket is, by listing all that is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from shared.config import Settings

REGIONS = ("ams3", "atl1", "blr1", "fra1", "lon1", "nyc3", "sfo2", "sfo3", "sgp1", "syd1", "tor1")
"""Where Spaces are, as the Terraform provider has it: no list of the provider's says so."""


class SpacesAway(Exception):
    """Spaces did not answer, or asked for patience: worth another try."""


class SpacesRefused(Exception):
    """Spaces said no, and will again."""


class NoBucket(SpacesRefused):
    """There is no such bucket, in this region."""


@dataclass(frozen=True)
class Measured:
    """What is in a bucket: the bytes of all objects together, and how many they are."""

    region: str
    size_bytes: int
    objects: int


@dataclass(frozen=True)
class Spaces:
    """Access to Spaces with a key. `url` has `{region}` for the region; the keys are in no repr."""

    url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session: AioSession = field(default_factory=get_session, repr=False, compare=False)  # reading S3's model takes long

    @classmethod
    def configured(cls, settings: Settings) -> Self | None:
        """As the settings say; None where they have no keys."""
        access, secret = settings.spaces_access_key_id, settings.spaces_secret_access_key
        if access is None or secret is None:
            return None
        return cls(settings.spaces_url, access.get_secret_value(), secret.get_secret_value())

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
