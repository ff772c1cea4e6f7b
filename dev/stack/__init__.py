"""The local stack: PostgreSQL 18, Apache Kafka and the stand-ins, for tests, the demo and a laptop, without Docker.

    with Stack("demo", stand_ins=["digitalocean"], say=print) as stack:
        ... stack.settings["DATABASE_URL"], stack.kafka.restart() ...

It reads nothing of the environment that could name a real server: no DATABASE_URL, KAFKA_*, DO_* or SPACES_*.
"""

from dev.stack.address import free_port, loopback_only
from dev.stack.process import StackError
from dev.stack.stack import Stack

__all__ = ["Stack", "StackError", "free_port", "loopback_only"]
