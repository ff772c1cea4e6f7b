"""`python -m tests.provider`: the service in a process, as `arcadia run provider` runs it, with the tests' waits."""

from __future__ import annotations

import threading

import uvloop

from shared import log, process
from shared.config import Settings
from tests.ledger.__main__ import end_with_the_starter
from tests.provider.world import service_with


def main() -> None:
    settings = Settings()
    log.configure(settings, process="provider")
    threading.Thread(target=end_with_the_starter, daemon=True).start()
    uvloop.run(process.run([service_with()], settings))


if __name__ == "__main__":
    main()
