"""Every metric of the runtime, each with its sentence."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

HANDLED = Counter(
    "arcadia_messages_handled_total",
    "Messages whose handling was committed, by what came of it: ok, refused, pending, held, dead, duplicate.",
    ["service", "type", "outcome"],
)
BATCH_SECONDS = Histogram(
    "arcadia_batch_seconds", "Time from a batch's arrival to its commit.", ["service"], buckets=_SECONDS
)
RETRIES = Counter(
    "arcadia_batch_retries_total", "Batches tried again, by reason: outage, contention or error.", ["service", "reason"]
)
PUBLISHED = Counter("arcadia_outbox_published_total", "Outbox rows that Kafka has acknowledged.", ["service"])
OUTBOX_DEPTH = Gauge("arcadia_outbox_depth", "Outbox rows that wait to be published.", ["service"])
OUTBOX_AGE = Gauge("arcadia_outbox_age_seconds", "Age of the oldest outbox row.", ["service"])
LAG = Gauge(
    "arcadia_consumer_lag", "Records between this consumer's position and the end.", ["service", "topic", "partition"]
)
STOPPED = Gauge(
    "arcadia_consumer_stopped", "1 while a consumer does not go on because of too many dead letters.", ["service"]
)
DEAD_LETTERS = Gauge("arcadia_dead_letters", "Dead letters that wait for an operator.", ["service"])
JOBS = Counter(
    "arcadia_jobs_total", "Jobs that ended or were put off, by what came of it.", ["service", "type", "outcome"]
)
JOBS_WAITING = Gauge("arcadia_jobs_waiting", "Jobs that are queued.", ["service"])
JOB_SECONDS = Histogram(
    "arcadia_job_seconds", "Time of one attempt at a job.", ["service", "type"], buckets=(*_SECONDS, 60, 300, 900)
)
