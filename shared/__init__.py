"""The runtime that every service stands on.

A service is a table of handlers (`service.py`). `process.py` runs it: `consumer.py` takes batches from Kafka (`bus.py`)
and handles each in one transaction (`db.py`): inbox, state and outbox together (`inbox.py`, `outbox.py`). `relay.py`
publishes the outbox, what it knows of without a look (`shortcut.py`). `jobs.py` runs what talks to the outside, from
the rows of `job_store.py`. `dead_letters.py` keeps what could not be handled. `replies.py` waits for answers.
`migrate.py` makes schemas and roles.
"""
