"""Reads of sagas: every SQL statement. They give JSON text, the answer's body."""

from __future__ import annotations

from uuid import UUID

from services.gateway.auth import Identity
from services.gateway.store import Read, Views

_SAGAS = Read("select tenant_sagas($1, $2, $3, $4, $5, $6)", "select operator_sagas($1, $2, $3, $4, $5)")
_SAGA = Read("select tenant_saga($1, $2)", "select operator_saga($1)")
_TO_CHANGE = Read("select tenant_deployment_to_change($1, $2)", "select operator_deployment_to_change($1)")


async def list_sagas(
    views: Views,
    identity: Identity,
    *,
    status: str | None,
    kind: str | None,
    deployment: UUID | None,
    before: UUID | None,
    limit: int,
) -> str:
    """A page of runs, the newest first, `{"sagas": [...], "count": n, "next": ...}`."""
    return await views.get(identity, _SAGAS, status, kind, deployment, before, limit)


async def find_saga(views: Views, identity: Identity, id: UUID) -> str | None:
    """A run, with what it was begun with and has found out; None where it is not seen."""
    return await views.find(identity, _SAGA, id)


async def find_to_change(views: Views, identity: Identity, deployment_id: UUID) -> str | None:
    """What a run that changes a deployment is to be told of it; None where it is not seen."""
    return await views.find(identity, _TO_CHANGE, deployment_id)
