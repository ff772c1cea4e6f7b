"""What others own is copied from their events, and what is old is let go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import REGISTRY

from contracts.deployments import Deployment
from services.billing import metrics, store, upkeep
from shared.ids import derived_id
from tests.billing.test_invoices import line
from tests.billing.world import Billing, resource


async def test_an_old_word_about_a_resource_does_not_replace_a_newer_one(billing: Billing) -> None:
    await billing.tell_resources(resource("called-first", "11"), resource("called-last", "11", version=3))
    await billing.tell_resources(
        resource("called-meanwhile", "11", version=2), resource("a", "12"), resource("b", "12", version=2)
    )
    rows = await billing.fetch("select name, version from resources order by provider_id")
    assert [tuple(row) for row in rows] == [("called-last", 3), ("b", 2)]


async def test_of_several_words_about_a_deployment_the_newest_counts(billing: Billing) -> None:
    def shop(slug: str, version: int) -> Deployment:
        now = datetime.now(UTC)
        return Deployment.model_validate(
            {
                **dict.fromkeys(Deployment.model_fields),
                "id": derived_id("shop"),
                "tenant_id": "acme",
                "slug": slug,
                "display_name": slug,
                "version": version,
                "state": "active",
                "state_since": now,
                "created_at": now,
                "billing_action_suspended": False,
            }
        )

    async with billing.db.transaction() as conn:
        await store.project_deployments(conn, [shop("a", 1), shop("c", 3), shop("b", 2)])
        await store.project_deployments(conn, [shop("b", 2)])
    (row,) = await billing.fetch("select slug, version from deployments")
    assert tuple(row) == ("c", 3)


async def test_a_resource_that_does_not_say_when_it_was_made_may_be_meant(billing: Billing) -> None:
    await billing.tell_resources(resource("web-01", "11", created_at=None))
    await billing.ingested(await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00")))
    (row,) = await billing.lines()
    assert row["resource_name"] == "web-01"


async def test_sets_that_were_replaced_are_kept_for_their_time(billing: Billing) -> None:
    await billing.tell_resources(resource("web-01", "11"))
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    await billing.ingested(id)
    uuid = (await billing.invoice())["invoice_uuid"]
    await billing.provider.change_invoice(uuid, lines=[line("web-01 (s-1vcpu-1gb)", "7.00", project="p")])
    await billing.ingested(id)
    (old,) = await billing.fetch("select * from superseded_cost_lines")
    assert (old["kind"], old["provider_resource_id"], old["resource_id"]) == (
        "droplet",
        "11",
        resource("web-01", "11").id,
    )
    assert (old["matched_by"], old["unmatched"], old["ingest"], old["hours"]) == ("name", None, 1, 720)
    now = datetime.now(UTC)
    for later, left in ((upkeep.SUPERSEDED_KEPT - timedelta(days=1), 1), (upkeep.SUPERSEDED_KEPT, 0)):
        async with billing.db.transaction() as conn:
            await upkeep.drop_old_lines(conn, now + later)
        assert len(await billing.fetch("select from superseded_cost_lines")) == left
    assert len(await billing.lines()) == 1


async def test_what_differs_but_for_the_amount_is_told_too(billing: Billing) -> None:
    names = [f"web-0{n} (s-1vcpu-1gb)" for n in range(4)]
    id = await billing.only(*(line(name, "6.00") for name in names))
    await billing.ingested(id)
    uuid = (await billing.invoice())["invoice_uuid"]
    others: list[dict[str, str]] = [{"hours": "7"}, {"project": "acme"}, {"category": "paas"}, {}]
    changed = [line(name, "6.00", **other) for name, other in zip(names, others, strict=True)]
    await billing.provider.change_invoice(uuid, lines=changed)
    changes = (await billing.ingested(id))["changes"]
    assert (changes["altered"], changes["repriced"], changes["added"], changes["removed"]) == (3, 0, 0, 0)
    kept = await billing.fetch("select project_name, category, hours from superseded_cost_lines order by line")
    assert [tuple(row) for row in kept] == [(None, "iaas", 720)] * 4


async def test_how_many_invoices_are_in_which_state_is_measured(billing: Billing) -> None:
    id = await billing.only(line("web-01 (s-1vcpu-1gb)", "6.00"))
    await billing.fetch("update cloud_invoices set amount_cents = 10000 where id = $1", id)
    await billing.ingested(id)
    await billing.fetch(
        """
        insert into cloud_invoices
          (id, provider, invoice_uuid, number, period, currency, amount_cents, issued_at, discovered_at)
        values (gen_random_uuid(), 'digitalocean', 'u', '', '2026-03-01', 'USD', 1, now(), now())
        """
    )
    async with billing.db.transaction() as conn:
        await metrics.tell_invoices(conn, datetime.now(UTC))
    assert REGISTRY.get_sample_value("arcadia_billing_invoices", {"ingest": "ingested"}) == 1
    assert REGISTRY.get_sample_value("arcadia_billing_invoices", {"ingest": "failed"}) == 0
    assert REGISTRY.get_sample_value("arcadia_billing_pushes", {"push": "pushed"}) == 1
    assert REGISTRY.get_sample_value("arcadia_billing_pushes", {"push": "pending"}) == 0
    assert REGISTRY.get_sample_value("arcadia_billing_invoices_differing") == 1
