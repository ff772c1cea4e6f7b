"""`python -m bench.http_load PORT CONNECTIONS SECONDS`: a plain HTTP load on 127.0.0.1, in a process of its own.

Standard input: a JSON list of [path, authorization]. Standard output: {"requests_per_s", "p50_ms", "p99_ms"}.
Keep-alive connections, one request at a time on each, in turns over the paths; any status but 200 is an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from itertools import cycle

from bench.report import percentile


class Connection(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last is complete."""

    def __init__(self, requests: list[bytes], offset: int, latencies: list[float]) -> None:
        self._requests = cycle(requests[offset:] + requests[:offset])
        self._latencies = latencies
        self._received = b""
        self._sent_at = 0.0
        self.failed: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.failed = self._received.decode(errors="replace")[:500]
            self._transport.close()
            return
        self._latencies.append(time.perf_counter() - self._sent_at)
        self._received = b""
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._requests))


async def load(port: int, connections: int, seconds: float, requests: list[bytes]) -> dict[str, float]:
    """Keep `connections` busy for a while; a second before that is not counted."""
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(partial(Connection, requests, n * 7 % len(requests), latencies), "127.0.0.1", port)
        for n in range(connections)
    ]
    await asyncio.sleep(1)
    latencies.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed, measured = time.perf_counter() - started, list(latencies)
    for transport, _ in opened:
        transport.close()
    failed = [protocol.failed for _, protocol in opened if protocol.failed]
    if failed:
        raise SystemExit(f"an answer was not 200: {failed[0]}")
    return {
        "requests_per_s": len(measured) / elapsed,
        "p50_ms": percentile(measured, 0.5) * 1000,
        "p99_ms": percentile(measured, 0.99) * 1000,
    }


def main() -> None:
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    requests = [
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: {authorization}\r\n\r\n".encode()
        for path, authorization in json.load(sys.stdin)
    ]
    print(json.dumps(asyncio.run(load(port, connections, seconds, requests))))


if __name__ == "__main__":
    main()
