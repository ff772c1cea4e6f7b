"""The OpenAPI document says what the gateway does, and the gateway does what it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from services.gateway.gateway import Gateway
from tests.gateway.world import OPERATOR

_SECONDS = 150


async def test_schemathesis_finds_no_server_error_and_no_undocumented_answer(
    gateway: Gateway, inventory: None, tmp_path: Path
) -> None:
    code, output = await schemathesis(f"{gateway.url}/api/v1/schema/openapi.json", OPERATOR, tmp_path)
    assert code == 0, output


async def schemathesis(url: str, token: str, directory: Path) -> tuple[int, str]:
    """Run it against a gateway with a caller's token: (exit code, what it said)."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        url,
        "--header",
        f"Authorization: Bearer {token}",
        "--checks=all",
        # Unknown parameters and fields are ignored on purpose (existing clients send some), and whether a key was used for
        # another request before is not in any schema.
        "--exclude-checks=negative_data_rejection,positive_data_acceptance",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=10",
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
