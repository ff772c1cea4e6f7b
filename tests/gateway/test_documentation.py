"""The OpenAPI document says what the gateway does, and the gateway does what it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from services.gateway.gateway import Gateway
from tests.gateway.world import OPERATOR, World

_SECONDS = 600


@pytest.mark.timeout(_SECONDS + 30)
@pytest.mark.parametrize(
    "phases",
    ["examples,fuzzing", pytest.param("coverage", marks=pytest.mark.long)],  # every boundary of every value
)
async def test_schemathesis_finds_no_server_error_and_no_undocumented_answer(
    gateway: Gateway, inventory: None, tmp_path: Path, phases: str
) -> None:
    code, output = await schemathesis(f"{gateway.url}/api/v1/schema/openapi.json", OPERATOR, tmp_path, phases)
    assert code == 0, output


async def schemathesis(url: str, token: str, directory: Path, phases: str) -> tuple[int, str]:
    """Run it against a gateway with a caller's token: (exit code, what it said)."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        url,
        "--header",
        f"Authorization: Bearer {token}",
        "--checks=all",
        # Unknown parameters and fields are ignored on purpose: existing clients send some. And no schema can say that a
        # key was used for another request before.
        "--exclude-checks=negative_data_rejection,positive_data_acceptance",
        f"--phases={phases}",
        "--max-examples=5",
        "--seed=20261101",
        "--continue-on-failure",
        "--suppress-health-check=all",
        "--generation-database=none",
        cwd=directory,
        env={"NO_PROXY": "*", "PATH": "/usr/bin:/bin", "NO_COLOR": "1", "HOME": str(directory)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


async def document(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get("/api/v1/schema/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_the_document_is_openapi_3_1_and_every_route_says_what_it_refuses(stranger: httpx.AsyncClient) -> None:
    found = await document(stranger)
    assert found["openapi"].startswith("3.1")
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            assert operation["description"], name
            assert operation["tags"], name
            if operation["security"] == [{"token": []}]:
                assert {"400", "401", "429", "503"} <= operation["responses"].keys(), name
            for status, response in operation["responses"].items():
                assert status < "400" or "application/problem+json" in response["content"], f"{name} {status}"


async def test_a_route_names_what_its_service_may_refuse(stranger: httpx.AsyncClient) -> None:
    found = await document(stranger)
    subscribe = found["paths"]["/api/v1/deployments/{deployment_id}/subscribe"]["post"]["responses"]
    named = {status: set(response["content"]["application/problem+json"]["examples"]) for status, response in
             subscribe.items() if status >= "400"}  # fmt: skip
    assert {"subscription_exists", "deployment_ended"} <= named["409"]
    assert {"not_found", "plan_or_version_not_found"} <= named["404"]
    assert {"validation_failed", "currency_mismatch"} <= named["422"]
    assert "Here also `subscription_exists`" in subscribe["409"]["description"]


async def test_every_example_is_valid_by_the_schema_beside_it(stranger: httpx.AsyncClient) -> None:
    found = await document(stranger)
    checked = 0
    for operations in found["paths"].values():
        for operation in operations.values():
            for response in operation["responses"].values():
                for content in (response.get("content") or {}).values():
                    for example in content.get("examples", {}).values():
                        validate(found, content["schema"], example["value"])
                        checked += 1
    assert checked > 50


def validate(found: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator({"components": found["components"], **schema}).validate(value)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/health", "/api/health"),
        ("/api/v1/me", "/api/v1/me"),
        ("/api/v1/inventory", "/api/v1/inventory"),
        ("/api/v1/inventory/{resource}", "/api/v1/inventory/{resource_id}"),
        ("/api/v1/inventory/held-syncs", "/api/v1/inventory/held-syncs"),
        ("/api/v1/projects", "/api/v1/projects"),
    ],
)
async def test_what_is_answered_has_the_documented_members_and_no_others(
    there: World, operator: httpx.AsyncClient, path: str, route: str
) -> None:
    found = await document(operator)
    answer = await operator.get(path.format(resource=there.fleet.resources["acme-web-0"]))
    schema = found["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    validate(closed(found), schema, answer.json())


def closed(found: dict[str, Any]) -> dict[str, Any]:
    """The document with every described object closed, so that a member nobody described is an error."""
    schemas = found["components"]["schemas"]
    shut = {
        name: schema | {"additionalProperties": False} for name, schema in schemas.items() if "properties" in schema
    }
    return found | {"components": found["components"] | {"schemas": schemas | shut}}


async def checked(http: httpx.AsyncClient, route: str, answer: httpx.Response) -> dict[str, Any]:
    """An answer, compared with what the document says of its route."""
    assert answer.status_code == 200, answer.text
    found = await document(http)
    method = answer.request.method.lower()
    schema = found["paths"][route][method]["responses"]["200"]["content"]["application/json"]["schema"]
    validate(closed(found), schema, answer.json())
    told: dict[str, Any] = answer.json()
    return told


async def test_a_person_reads_the_document_as_a_page_without_script_or_network(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/api/v1/schema")
    assert answer.headers["content-type"].startswith("text/html")
    page = answer.text
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    for path, operations in (await document(stranger))["paths"].items():
        assert path in page
        assert all(operation["operationId"] in page for operation in operations.values())
    assert (await stranger.get("/api/v1/schema/openapi.yaml")).status_code == 200
