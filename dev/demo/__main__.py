"""`python -m dev.demo [--keep] [--kafka KIND]`, which `make demo` runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import suppress
from typing import get_args

from dev.demo.screen import Screen
from dev.demo.stage import DemoFailed, Stage, stage
from dev.demo.story import tell
from dev.stack import StackError
from dev.stack.fallback import KafkaKind
from dev.tokens import OPERATOR_ROLES, mint


def main() -> int:
    """Tell the story; 1 when it could not be told."""
    parser = argparse.ArgumentParser(prog="python -m dev.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="let everything run until Ctrl-C")
    parser.add_argument("--kafka", choices=get_args(KafkaKind), help="default: the best that this machine serves")
    chosen = parser.parse_args()
    try:
        asyncio.run(_play(Screen(), keep=chosen.keep, kafka=chosen.kafka))
    except (DemoFailed, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _play(screen: Screen, *, keep: bool, kafka: KafkaKind | None) -> None:
    screen.chapter("Arcadia Cloud", "PostgreSQL, Kafka, a stand-in for DigitalOcean and the services, on this machine.")
    async with stage(screen, kafka=kafka) as everything:
        await tell(everything, screen)
        if keep:
            _say_how_to_go_on(screen, everything)
            with suppress(asyncio.CancelledError):  # what Ctrl-C makes of it
                await asyncio.Event().wait()
    screen.step("everything is stopped and removed" + ("" if keep else "; `make demo KEEP=1` waits with that"))


def _say_how_to_go_on(screen: Screen, everything: Stage) -> None:
    path = everything.logs / "environment"
    exports = "".join(f"export {name}='{value}'\n" for name, value in everything.environment.items() if name != "PATH")
    path.touch(mode=0o600)
    path.write_text(exports)
    token = mint("platform", "ops@arcadia.example", OPERATOR_ROLES)
    screen.chapter("Go on", "Everything runs until Ctrl-C. In another terminal, here:")
    ask = f"curl -H 'authorization: Bearer {token}' {everything.gateway}/api/v1/inventory?limit=2"
    screen.table(
        ["for", "do"],
        [
            ["the API's documentation", f"{everything.gateway}/api/v1/schema"],
            ["asking it", ask],
            ["the command line", f". {os.path.relpath(path)} && .venv/bin/arcadia status"],
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
