"""librdkafka's mock cluster as a process: a broker in memory, for trying things out where nothing else runs.

    python -m dev.stack.mock_broker ADDRESS_FILE

writes `host:port` into the file when it can be connected to. Its limits: everything is lost at its end; one
member per consumer group; topics appear on first use, with 4 partitions; the oldest data are dropped past
5 MiB a partition; a fetch always waits its full time; most administration requests fail.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from pathlib import Path

import confluent_kafka

PRODUCER = 0


def main(address_file: str) -> None:
    """Run the mock cluster until SIGTERM or SIGINT."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    address = start()
    unfinished = Path(address_file).with_suffix(".new")
    unfinished.write_text(address)
    unfinished.rename(address_file)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def start() -> str:
    """Start a cluster of one broker inside this process and return its address."""
    library = _librdkafka()
    reason = ctypes.create_string_buffer(512)
    handle = library.rd_kafka_new(PRODUCER, None, reason, len(reason))
    cluster = library.rd_kafka_mock_cluster_new(handle, 1) if handle else None
    if not cluster:
        sys.exit(f"librdkafka's mock broker did not start: {reason.value.decode()}")
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
    return str(library.rd_kafka_mock_cluster_bootstraps(cluster).decode())


def _librdkafka() -> ctypes.CDLL:
    package = Path(confluent_kafka.__file__).parent
    # In the wheel for Linux the library lies beside the package, in the one for macOS inside it.
    found = [*package.parent.glob("confluent_kafka.libs/librdkafka*"), *package.rglob("librdkafka*.dylib")]
    if not found:
        sys.exit("the package confluent-kafka came without its librdkafka; install its wheel: `make setup`")
    library = ctypes.CDLL(str(found[0]))
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    return library


if __name__ == "__main__":
    main(sys.argv[1])
