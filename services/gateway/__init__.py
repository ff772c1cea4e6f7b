"""The gateway: the REST door of the platform.

Owns        operations: every write that was accepted over HTTP, with its answer once that is final.
Accepts     HTTP under /api/v1. Replies come to it on `arcadia.gateway.replies`; they only wake whoever waits.
Announces   nothing; it sends the other services' commands through its outbox.
Invariants  One operation per (tenant, idempotency key), and it is the command: one id names the operation, the command
            and everything that the command causes (its correlation id). Reads go through the published views of
            the other services, as a role that has no grant on any table; a tenant's reads through the scoped ones.
Does not    decide anything about resources, projects, deployments: a command's outcome is its service's word, and the
decide      mapping to an HTTP answer is a table (`answers.py`).

Beside the usual files: `auth.py` (tokens), `door.py` (what happens around every request), `limits.py`, `problems.py`
and `failures.py` (errors), `paging.py`, `operations.py` (the write path) with `acceptance.py` (what it stores),
`answers.py` (outcomes in HTTP), `gateway.py` (what a running gateway has), `deployment_store.py` (reads of deployments
and the catalog), `saga_store.py` (of sagas), `usage_store.py` (of usage), `margin_store.py` (of quotes, margin and
rates), `drift_store.py` (of drift), `billing_store.py` (of costs) with `exports.py` and `focus.py` (files of them),
`documentation.py` (OpenAPI) with `page.py` (the same as HTML) and a module per noun in `routes/`.
"""
