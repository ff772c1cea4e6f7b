"""The peer of `bench.sagas`: seven echo steps as a workflow of DBOS Transact. Runs in an environment of its own.

python dbos_steps.py DATABASE_URL CONCURRENCY SECONDS    prints {"sagas", "per_s", "p50_ms", "p99_ms"}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from dbos import DBOS, DBOSConfig

STEPS = 7


@DBOS.step()
async def echo(said: str) -> str:
    return said


@DBOS.workflow()
async def exercise(said: str) -> dict[str, str]:
    return {f"echoed_at_step_{step}": await echo(said) for step in range(STEPS)}


async def measure(concurrency: int, seconds: float) -> dict[str, float]:
    """Keep so many workflows under way for a while."""
    taken: list[float] = []
    began = time.perf_counter()

    async def one_after_the_other() -> None:
        while time.perf_counter() - began < seconds:
            at = time.perf_counter()
            handle = await DBOS.start_workflow_async(exercise, "hello")
            assert len(await handle.get_result()) == STEPS
            taken.append((time.perf_counter() - at) * 1000)

    await asyncio.gather(*(one_after_the_other() for _ in range(concurrency)))
    took = time.perf_counter() - began
    taken.sort()
    return {
        "sagas": len(taken),
        "per_s": len(taken) / took,
        "p50_ms": taken[len(taken) // 2],
        "p99_ms": taken[int(len(taken) * 0.99)],
    }


async def main() -> None:
    url, concurrency, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    config: DBOSConfig = {"name": "bench", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False}
    DBOS(config=config)
    DBOS.launch()
    await measure(1, 0.5)  # so that all is warm
    print(json.dumps(await measure(concurrency, seconds)))
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main())
