"""`arcadia inventory`, at an installation with a fleet."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.cli.conftest import FLEET, Installation, Shell


@pytest.fixture(scope="module")
async def volumes(installation: Installation) -> AsyncIterator[None]:
    """Two loose volumes: of acme one, of nobody the other, whose price nobody knows."""
    admin = await asyncpg.connect(installation.settings.database_url.get_secret_value())
    await admin.execute(
        """
        insert into inventory.cloud_resources (kind, provider_id, name, region, state, tags, attrs, fingerprint,
          tenant_id, first_seen_at, last_seen_at, version)
        values ('volume', 'v-1', 'data-one', 'nyc3', 'detached', '{blue}',
                '{"size_gb": 1000, "monthly_usd_cents": 10000}', '', 'acme', now(), now(), 1),
               ('volume', 'v-2', E'data-two\\u001b[31m', 'fra1', 'detached', '{}', '{"size_gb": null}', '', null, now(),
                now() - interval '3 hours', 1)
        """
    )
    yield
    await admin.execute("delete from inventory.cloud_resources where kind = 'volume'")
    await admin.close()


@pytest.fixture
async def part(installation: Installation) -> AsyncIterator[None]:
    """A load balancer that a linked cluster made."""
    admin = await asyncpg.connect(installation.settings.database_url.get_secret_value())
    await admin.execute(
        """
        insert into inventory.cloud_resources (kind, provider_id, name, tags, attrs, fingerprint, deployment_id,
          parent_kind, parent_provider_id, part, first_seen_at, last_seen_at, version)
        values ('load_balancer', 'lb-1', 'ingress', '{}', '{}', '', gen_random_uuid(), 'kubernetes_cluster',
                'cluster-1', true, now(), now(), 1)
        """
    )
    yield
    await admin.execute("delete from inventory.cloud_resources where kind = 'load_balancer'")
    await admin.close()


def rows(shell: Shell, *arguments: str) -> list[str]:
    said = shell("inventory", "list", *arguments)
    assert said.code == 0, said.err
    return said.out.splitlines()


@pytest.mark.usefixtures("volumes")
def test_resources_are_listed_by_kind_and_name(arcadia: Shell) -> None:
    head, *found = rows(arcadia)
    assert head.split() == ["kind", "name", "region", "state", "size", "tenant", "seen", "id"]
    assert [line.split()[0] for line in found] == ["droplet"] * FLEET + ["volume"] * 2
    one, two = found[-2:]
    assert re.match(r"volume +data-one +nyc3 +detached +1,000 GB +acme +\d+ s +[0-9a-f-]{36}$", one), one
    assert re.search(r"\? GB +- +3 h ", two), "an unknown size is not 0"
    assert "\x1b" not in two


@pytest.mark.usefixtures("volumes")
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (("--kind", "volume"), ["data-one", "data-two\\x1b[31m"]),
        (("--kind", "volume", "--region", "nyc3"), ["data-one"]),
        (("--tenant", "acme", "--kind", "volume"), ["data-one"]),
        (("--tag", "blue"), ["data-one"]),
        (("--state", "detached", "TWO"), ["data-two\\x1b[31m"]),
        (("v-1",), ["data-one"]),
    ],
)
def test_a_list_is_filtered(arcadia: Shell, filters: tuple[str, ...], names: list[str]) -> None:
    assert [line.split()[1] for line in rows(arcadia, *filters)[1:]] == names


@pytest.mark.usefixtures("volumes")
def test_a_list_that_goes_on_says_so_and_an_empty_one_too(arcadia: Shell) -> None:
    assert rows(arcadia, "--limit", "1")[-1].startswith("... and more: --limit 5")
    assert rows(arcadia, "--kind", "app") == ["none"]


@pytest.mark.usefixtures("part")
def test_a_part_is_shown_with_the_way_to_the_links_that_it_has_of_its_cluster(arcadia: Shell) -> None:
    said = arcadia("inventory", "show", "ingress")
    assert re.search(r"^linked +with its parent: arcadia inventory show cluster-1$", said.out, flags=re.MULTILINE)


def test_a_resource_is_shown_with_its_history(arcadia: Shell) -> None:
    name = rows(arcadia, "--limit", "1")[1].split()[1]
    id = rows(arcadia, name)[1].split()[-1]

    said = arcadia("inventory", "show", id[-36:])

    assert said.code == 0, said.err
    assert re.search(rf"^name +{re.escape(name)}$", said.out, flags=re.MULTILINE)
    assert re.search(r"^  vcpus +\d+$", said.out, flags=re.MULTILINE)
    assert re.search(r"Z  discovered ", said.out)


@pytest.mark.usefixtures("volumes")
def test_one_is_found_by_its_name_and_several_are_named(arcadia: Shell) -> None:
    assert re.search(r"^provider_id +v-1$", arcadia("inventory", "show", "data-one").out, flags=re.MULTILINE)
    nobody = arcadia("inventory", "show", "nothing-like-this")
    assert (nobody.code, "there is no resource 'nothing-like-this'" in nobody.err) == (1, True)
    several = arcadia("inventory", "show", "0")
    assert (several.code, "'0' is several" in several.err) == (1, True)


@pytest.mark.usefixtures("volumes")
def test_orphans_are_listed_with_what_they_cost(arcadia: Shell) -> None:
    said = arcadia("inventory", "orphans")
    head, one, two, total = said.out.splitlines()
    assert "USD a month" in head
    assert re.match(r"volume +data-one +nyc3 +acme +100\.00 +attached to no droplet ", one), one
    assert re.search(r" \? +attached to no droplet ", two), two
    assert total == "2 of them, 100.00 USD a month, and 1 whose price is not known"
