"""A consumer that knows nothing of this project's code: aiokafka, JSON, and the schemas that the gateway serves."""

from __future__ import annotations

import json
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer
from jsonschema import Draft202012Validator, FormatChecker


async def everything_said(bootstrap_servers: str, topics: list[str]) -> list[tuple[str, str, Any]]:
    """All records of the topics from their beginning to their present end, as (topic, key, parsed value)."""
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        said = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                said += [(record.topic, record.key.decode(), json.loads(record.value)) for record in records]
        return said
    finally:
        await consumer.stop()


class Schemas:
    """The schemas as the gateway serves them, by the path that a message's `dataschema` names."""

    def __init__(self, gateway: str) -> None:
        self._client = httpx.Client(base_url=gateway, trust_env=False)
        self._validators: dict[str, Draft202012Validator] = {}

    def check(self, message: Any) -> None:
        """Raise `jsonschema.ValidationError` where an envelope or its data is not as the schemas say."""
        self._validator("/api/v1/contracts/schemas/envelope.json").validate(message)
        self._validator(message["dataschema"]).validate(message["data"])

    def _validator(self, path: str) -> Draft202012Validator:
        if path not in self._validators:
            schema = self._client.get(path).raise_for_status().json()
            Draft202012Validator.check_schema(schema)
            self._validators[path] = Draft202012Validator(schema, format_checker=FormatChecker())
        return self._validators[path]

    def close(self) -> None:
        self._client.close()
