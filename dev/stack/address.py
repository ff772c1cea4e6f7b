"""Addresses of the local stack: free ports, and the refusal of anything that is not this machine."""

from __future__ import annotations

import ipaddress
import random
import socket
from urllib.parse import parse_qs, urlsplit

from dev.stack.process import StackError

HOST = "127.0.0.1"
# Below the ranges from which Linux and macOS give ports to outgoing connections: while a server is down, a
# client that keeps reconnecting to a port of that range can be given that very port, meet itself, and hold it.
PORTS = range(20_000, 30_000)


def free_port() -> int:
    """A TCP port on the loopback interface at which nothing listens."""
    for port in random.SystemRandom().sample(PORTS, 100):
        if port_is_free(port):
            return port
    raise StackError(f"no free port found between {PORTS.start} and {PORTS.stop} on {HOST}")


def port_is_free(port: int) -> bool:
    """Whether a server could listen at this port now."""
    with socket.socket() as probe:
        # As servers do: else a port counts as taken for a minute after its last connection was closed.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def loopback_only(url: str) -> str:
    """Return the address unchanged if every host in it is this machine; raise StackError otherwise.

    Takes URLs (`postgresql://user@127.0.0.1:5432/db`) and lists of servers (`localhost:9092,127.0.0.1:9093`).
    Names other than localhost are refused without asking what they resolve to.
    """
    for host in _hosts(url):
        if not _is_loopback(host):
            raise StackError(
                f"refused: {host or 'an address without a host'} is not this machine; tests and the demo talk to "
                "127.0.0.0/8, ::1 and localhost only"
            )
    return url


def _hosts(url: str) -> list[str]:
    if "\\" in url or any(character.isspace() for character in url):
        return [url]  # programs disagree about where the host of such an address ends
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        listed = [urlsplit(f"//{one}").hostname or "" for one in parts.netloc.rpartition("@")[2].split(",")]
    except ValueError:
        return [url]
    # PostgreSQL's clients let these override the host before the path.
    query = parse_qs(parts.query)
    named = [value for key in ("host", "hostaddr") for value in query.get(key, [])]
    return listed + [host for value in named for host in value.split(",")]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
