"""`python -m tests.ledger NAME...`: run test services in a process, as `arcadia run` runs the real ones."""

from __future__ import annotations

import os
import sys
import threading

import uvloop

from shared import log, process
from shared.config import Settings
from tests.ledger.services import SERVICES


def main() -> None:
    settings = Settings()
    log.configure(settings, process="-".join(sys.argv[1:]))
    threading.Thread(target=end_with_the_starter, daemon=True).start()
    uvloop.run(process.run([SERVICES[name] for name in sys.argv[1:]], settings))


def end_with_the_starter() -> None:
    while os.read(0, 1024):  # not sys.stdin: Python aborts when it ends while a thread has that locked
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
