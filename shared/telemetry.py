"""Traces: one span per batch and message, joined across HTTP, Kafka and jobs by `traceparent`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.config import Settings

_tracer = trace.get_tracer("arcadia")
_propagator = TraceContextTextMapPropagator()


def start_tracing(settings: Settings, service: str) -> None:
    """Send spans to the collector of OTEL_ENDPOINT; without one, spans cost next to nothing and go nowhere."""
    if settings.otel_endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(resource=Resource.create({"service.name": f"arcadia-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{settings.otel_endpoint}/v1/traces")))
    trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, *, parent: str | None = None, **attributes: str | int) -> Iterator[trace.Span]:
    """A span; `parent` is a traceparent that came with a message or request."""
    if parent is None and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield trace.INVALID_SPAN  # nothing is traced and there is nothing to pass on: spare the making of it
        return
    context = _propagator.extract({"traceparent": parent}) if parent else None
    with _tracer.start_as_current_span(name, context=context, attributes=attributes) as current:
        yield current


def current_traceparent() -> str | None:
    """The traceparent of the current span; None where nothing is traced."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")
