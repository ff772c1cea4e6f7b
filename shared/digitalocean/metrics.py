"""What Prometheus and the traces are told about calls to the provider. `route` is a template: no ids, few values."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import Counter, Gauge, Histogram

from shared.digitalocean.call import Call

CALLS = Counter(
    "arcadia_provider_calls_total",
    "Requests sent to DigitalOcean, each attempt counted; status is the answer's code, or `none`.",
    ["method", "route", "status"],
)
SECONDS = Histogram(
    "arcadia_provider_call_seconds",
    "How long DigitalOcean took to answer one request, waits for the rate budget not counted.",
    ["method", "route"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
BUDGET_REMAINING = Gauge(
    "arcadia_provider_rate_budget_remaining",
    "Requests that the token of a purpose may still make in this hour, as far as is known.",
    ["purpose"],
)
BUDGET_WAITING = Gauge(
    "arcadia_provider_rate_budget_waiting",
    "Requests that wait for the rate budget of a purpose's token.",
    ["purpose"],
)

_tracer = trace.get_tracer("arcadia.digitalocean")


@dataclass(slots=True)
class Observation:
    """How one attempt ended: the answer's status, or None without an answer."""

    status: int | None = None


@contextmanager
def observed(call: Call, host: str, tracer: trace.Tracer = _tracer) -> Iterator[Observation]:
    """Times, counts and traces one attempt."""
    observation = Observation()
    began = time.perf_counter()
    attributes = {"http.request.method": call.method, "url.template": call.route, "server.address": host}
    with tracer.start_as_current_span(
        f"{call.method} {call.route}", kind=SpanKind.CLIENT, attributes=attributes
    ) as span:
        try:
            yield observation
        finally:
            SECONDS.labels(call.method, call.route).observe(time.perf_counter() - began)
            CALLS.labels(call.method, call.route, observation.status or "none").inc()
            if observation.status:
                span.set_attribute("http.response.status_code", observation.status)
            if not observation.status or observation.status >= 400:
                span.set_status(StatusCode.ERROR)
