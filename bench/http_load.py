"""`python -m bench.http_load PORT CONNECTIONS SECONDS`: a plain HTTP load on 127.0.0.1, in a process of its own.

Standard input: a JSON list of [path, authorization] or [path, authorization, body], the latter for POST; or a list of
such lists, one for each connection. Standard output: {"requests", "requests_per_s", "p50_ms", "p99_ms"}; `requests` are
all that were answered, also before the measured time and after it.
Keep-alive connections, one request at a time on each, in turns; any status but 200 is an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable
from functools import partial
from itertools import cycle

from bench.report import percentile


class Connection(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last is complete, until there is none."""

    def __init__(self, requests: Iterable[bytes], latencies: list[float]) -> None:
        self._requests = iter(requests)
        self._latencies = latencies
        self._received = b""
        self._sent_at = 0.0
        self.answered = 0
        self.ending = False
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
        self.answered += 1
        if self.ending:
            self._transport.close()
        else:
            self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def load(port: int, seconds: float, requests: list[list[bytes]]) -> dict[str, float]:
    """Keep a connection for each list of requests busy for a while; a second before that is not counted."""
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(partial(Connection, cycle(each), latencies), "127.0.0.1", port)
        for each in requests
    ]
    await asyncio.sleep(1)
    latencies.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed, measured = time.perf_counter() - started, list(latencies)
    await _ended(opened)
    failed = [protocol.failed for _, protocol in opened if protocol.failed]
    if failed:
        raise SystemExit(f"an answer was not 200: {failed[0]}")
    return {
        "requests": sum(protocol.answered for _, protocol in opened),
        "requests_per_s": len(measured) / elapsed,
        "p50_ms": percentile(measured, 0.5) * 1000,
        "p99_ms": percentile(measured, 0.99) * 1000,
    }


async def _ended(opened: list[tuple[asyncio.Transport, Connection]]) -> None:
    """Let every request that is under way be answered, for some seconds at most."""
    for _, protocol in opened:
        protocol.ending = True
    for _ in range(500):
        if all(transport.is_closing() for transport, _ in opened):
            return
        await asyncio.sleep(0.02)
    raise SystemExit("some requests were not answered within 10 s")


def encoded(port: int, path: str, authorization: str, body: str | None = None) -> bytes:
    """A request as it is sent: GET, or POST where there is a body (of ASCII)."""
    head = f"{path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: {authorization}\r\n"
    if body is None:
        return f"GET {head}\r\n".encode()
    return f"POST {head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def main() -> None:
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    given = json.load(sys.stdin)
    if isinstance(given[0][0], list):
        requests = [[encoded(port, *each) for each in own] for own in given]
    else:
        shared = [encoded(port, *each) for each in given]
        offsets = [n * 7 % len(shared) for n in range(connections)]
        requests = [shared[offset:] + shared[:offset] for offset in offsets]
    print(json.dumps(asyncio.run(load(port, seconds, requests))))


if __name__ == "__main__":
    main()
