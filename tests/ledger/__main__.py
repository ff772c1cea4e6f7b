"""`python -m tests.ledger NAME...`: run test services in a process, as `arcadia run` runs the real ones."""

from __future__ import annotations

import asyncio
import sys

from shared import log, process
from shared.config import Settings
from tests.ledger.services import SERVICES


def main() -> None:
    settings = Settings()
    log.configure(settings, process="-".join(sys.argv[1:]))
    asyncio.run(process.run([SERVICES[name] for name in sys.argv[1:]], settings))


if __name__ == "__main__":
    main()
