"""What a change of plan or addons would mean, told by the function that quotes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from uuid import UUID

from contracts.catalog import VersionStatus
from contracts.deployments import Authority
from contracts.quotes import PreviewQuote, Quote
from contracts.times import month_after
from services.billing import quote_store, store, terms_store
from services.billing.quote_store import Key, Row
from services.billing.quotes import Basis, addon_of, bases_of, known_prices, runs_of, terms_of, usage_of
from services.billing.quoting import Addon, Terms, is_trial, quote, total_of
from shared.db import Connection
from shared.outcome import Meta, Outcome, Refused


async def preview_quote(cmd: PreviewQuote, conn: Connection, meta: Meta) -> Outcome:
    """Tell what the current month would cost with another plan or other addons."""
    tenant_id = await _tenant_of(conn, cmd, meta)
    subscription = await terms_store.find_subscription(conn, cmd.deployment_id)
    if subscription is not None and subscription["status"] == "cancelled":
        raise Refused("subscription_cancelled", deployment_id=str(cmd.deployment_id))
    period = subscription["period"] if subscription else meta.now.astimezone(UTC).date().replace(day=1)
    key = Key(cmd.deployment_id, period)
    now = next(iter(await bases_of(conn, [key])), None)
    terms = await _wanted_terms(conn, cmd, now)
    rows = await quote_store.list_addons(conn, [key])
    kept = _kept(cmd, rows)
    added = await _wanted_addons(conn, cmd, terms, kept)
    then = await _then(conn, key, tenant_id, terms, now)
    then = replace(then, addons=list(({row["addon_id"]: addon_of(row) for row in rows} | added).values()))
    trial = is_trial(subscription["trial_ends_at"] if subscription else None, month_after(period))
    after = quote(terms, [*kept.values(), *added.values()], {}, {}, trial=trial)
    would, does = then.quote(meta.now), now.quote(meta.now) if now else None
    return Outcome(
        result={
            "quote": _shown(would),
            "now": _shown(does) if does else None,
            "difference_cents": would.total_cents - (does.total_cents if does else 0),
            "next_month_cents": total_of(after),
        }
    )


async def _tenant_of(conn: Connection, cmd: PreviewQuote, meta: Meta) -> str:
    deployment = await store.find_deployment(conn, cmd.deployment_id)
    if deployment is None:
        raise Refused("not_found", deployment_id=str(cmd.deployment_id))
    if cmd.authority is not Authority.OPERATOR and deployment["tenant_id"] != meta.tenant_id:
        raise Refused("forbidden", deployment_id=str(cmd.deployment_id))
    tenant: str = deployment["tenant_id"]
    return tenant


async def _wanted_terms(conn: Connection, cmd: PreviewQuote, now: Basis | None) -> Terms:
    """The terms that are asked for, or those that are. Raises `Refused`."""
    if cmd.plan_code is None and cmd.plan_version_id is None:
        if now is None:
            raise Refused("subscription_not_found", message="name a plan", deployment_id=str(cmd.deployment_id))
        return now.terms
    row = await terms_store.find_version(conn, cmd.plan_code, cmd.plan_version_id)
    if row is None:
        asked = {"plan_code": cmd.plan_code, "plan_version_id": cmd.plan_version_id and str(cmd.plan_version_id)}
        raise Refused("plan_or_version_not_found", **{name: value for name, value in asked.items() if value})
    status, operator = VersionStatus(row["status"]), cmd.authority is Authority.OPERATOR
    if status is VersionStatus.DRAFT or (status is not VersionStatus.ACTIVE and not operator):
        raise Refused("version_not_active", plan_version_id=str(row["id"]), status=status)
    terms = terms_of(row)
    if now is not None:
        _check_currency(terms.currency, now.terms.currency, plan_code=terms.plan_code)
    return terms


def _check_currency(theirs: str, ours: str, **what: str) -> None:
    if theirs != ours:
        raise Refused("currency_mismatch", currency=theirs, subscription_currency=ours, **what)


def _kept(cmd: PreviewQuote, rows: Sequence[Row]) -> dict[UUID, Addon]:
    """The addons that are attached and stay so."""
    attached = {row["addon_id"]: addon_of(row) for row in rows if row["detached_at"] is None}
    for id in cmd.detach:
        if attached.pop(id, None) is None:
            raise Refused("addon_not_attached", addon_id=str(id))
    return attached


async def _wanted_addons(
    conn: Connection, cmd: PreviewQuote, terms: Terms, kept: Mapping[UUID, Addon]
) -> dict[UUID, Addon]:
    """The addons that are asked for, as the catalog has them now. Raises `Refused`."""
    rows = await terms_store.list_addons_by_code(conn, cmd.attach)
    if missing := sorted(set(cmd.attach) - {row["code"] for row in rows}):
        raise Refused("addon_not_found", addon_code=missing[0])
    for row in rows:
        _check_currency(row["currency"], terms.currency, addon_code=row["code"])
        if row["addon_id"] in kept:
            raise Refused("addon_attached", addon_id=str(row["addon_id"]), addon_code=row["code"])
    return {row["addon_id"]: addon_of(row) for row in rows}


async def _then(conn: Connection, key: Key, tenant_id: str, terms: Terms, now: Basis | None) -> Basis:
    """What the quote would be made of with other terms."""
    if now is not None:
        return replace(now, terms=terms)
    prices = await known_prices(conn)
    usage = usage_of(await quote_store.sum_usage(conn, [key], runs_of(prices, [key])))
    return Basis(key, tenant_id, terms, addons=[], usage=usage, prices=prices, trial=False)


def _shown(made: Quote) -> dict[str, object]:
    told = made.model_dump(mode="json", exclude_none=True, exclude={"version", "quoted_at"})
    return told | {"period": f"{made.period:%Y-%m}"}
