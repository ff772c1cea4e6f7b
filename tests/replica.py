"""`python -m tests.replica NAME...`: services in a process, as `arcadia run` runs them; it ends with its starter."""

from __future__ import annotations

import sys
import threading

from cli.main import main
from tests.ledger.__main__ import end_with_the_starter

if __name__ == "__main__":
    threading.Thread(target=end_with_the_starter, daemon=True).start()
    sys.argv[1:1] = ["run"]
    main()
