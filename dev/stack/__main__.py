"""`python -m dev.stack`: start a stack, print its addresses, and stop it at Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from dev.stack import Stack, StackError
from dev.stack.fallback import KAFKAS
from dev.stack.server import CHECKOUT
from dev.stack.stand_in import STAND_INS


def main() -> int:
    """Run one stack in the foreground; 1 when it could not be started."""
    chosen = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    stack = Stack(
        chosen.name,
        root=chosen.root,
        stand_ins=() if chosen.without_stand_ins else tuple(STAND_INS),
        kafka=chosen.kafka,
        ephemeral=chosen.ephemeral,
        say=_say,
    )
    try:
        with stack:
            _say("\n" + "\n".join(f"{name}={value}" for name, value in stack.settings.items()))
            _say("\nCtrl-C stops it.")
            signal.pause()
    except KeyboardInterrupt:
        _say("stopped")
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.stack", description=__doc__)
    parser.add_argument("--name", default="dev", help="stacks of different names run side by side")
    parser.add_argument("--root", type=Path, default=CHECKOUT, help="where the directory .stack is kept")
    parser.add_argument("--kafka", choices=tuple(KAFKAS), help="default: the best that this machine can serve")
    parser.add_argument("--ephemeral", action="store_true", help="begin with no data and remove them at the end")
    parser.add_argument("--without-stand-ins", action="store_true", help="only PostgreSQL and Kafka")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
