"""Invoices: what each month cost, line by line, back to December 2014.

Their shapes are those of real files and recordings: eight columns until 2020, hours that are empty or a count, periods
that end at midnight or a second before, the same name on several lines. The newest one, of the month before the
provider's clock begins, names six droplets that are there, and costs what it costs in every fleet: 86.92 USD.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

import orjson

from dev.digitalocean.state import Droplet, Invoice, Line, World

FIRST_MONTH = (2014, 12)
CATEGORY_SINCE = "2020-07"
GST_SINCE = (2017, 7)
FIRST_INVOICE_ID = 1_418_071_234
LONGEST_MONTH_HOURS = 672
CURRENT = 6
"""How many lines of the newest invoice are of droplets that are there."""


# Of the newest invoice: product, description, hours, USD. `{}` is a droplet that is there.
_NEWEST = (
    *(("Droplets", "{}", hours, usd) for hours, usd in (
        ("720", "12.00"), ("720", "6.00"), ("411", "7.34"), ("720", "4.00"), ("96", "0.86"), ("720", "6.00"))),
    *(("Droplets", f"historic-{n:02d} (s-1vcpu-1gb)", str(hours), usd) for n, (hours, usd) in enumerate((
        (720, "6.00"), (312, "2.79"), (18, "0.16"), (0, "0.01"), (144, "1.29"), (72, "0.64"), (26, "0.23")), 1)),
    ("Droplets", "historic-01 (s-1vcpu-2gb)", "31", "0.55"),
    ("Droplets", "Historic-Web, the old (s-1vcpu-512mb-10gb)", "90", "0.54"),
    ("Droplet Backups", "historic-01 (Weekly Backup Services)", "4", "1.20"),
    ("Droplet Backups", "historic-05 (Weekly Backup Services)", "5", "0.26"),
    ("Droplet Snapshots", "historic-before-upgrade (fra1) 10.15GB Droplet Snapshot", "360", "0.30"),
    ("Droplet Snapshots", "historic-before-upgrade (fra1) 10.15GB Droplet Snapshot", "360", "0.31"),
    ("Droplet Snapshots", "historic-golden (nyc3) 2.40GB Droplet Snapshot", "720", "0.14"),
    ("Volumes", "historic-data-01 (nyc3) 100GB", "720", "10.00"),
    ("Volumes", "historic-data-02 (fra1) 10GB", "204", "0.28"),
    ("Volume Snapshots", "historic-data-01-weekly (nyc3) 12.00GB", "720", "0.72"),
    ("Floating IPs", "Unused Floating IP - 203.0.113.44", "33", "0.20"),
    ("Load Balancers", "historic-lb (nyc3)", "268", "4.48"),
    ("Kubernetes Clusters", "1 node - 2 GB / 1 vCPU / 50 GB SSD", "100", "1.79"),
    ("Database Clusters", "historic-pg (1 node, db-s-1vcpu-1gb)", "150", "3.35"),
    ("Spaces Subscription", "Spaces ($5/mo 250GiB storage & 1TiB bandwidth)", "720", "5.00"),
    ("Container Registry Subscription", "Basic", "720", "5.00"),
    ("Uptime Health Check", "historic.example", "720", "0.00"),
    ("Bandwidth", "Additional outbound transfer 8.90GiB", "", "0.09"),
    ("Credits", "Service credit", "", "-2.51"),
    ("Taxes", "GST (10%)", "", "7.90"),
)  # fmt: skip

# Of all others: product, description, full price of a month in USD.
_ELDER = (
    ("Droplets", "elder-{:02d} (512mb)", "5.00"),
    ("Droplets", "elder-{:02d} (s-1vcpu-1gb)", "5.00"),
    ("Droplets", "elder-{:02d} (s-2vcpu-4gb)", "20.00"),
    ("Droplet Snapshots", "elder-image-{:02d} (fra1) 4.10GB Droplet Snapshot", "0.20"),
    ("Volumes", "elder-data-{:02d} (fra1) 50GB", "5.00"),
)


def issued(world: World) -> list[Invoice]:
    """All invoices, the newest first; made when they are first asked for."""
    if not world.invoices:
        newest = _month_before(world.settings.clock)
        months = (newest[0] - FIRST_MONTH[0]) * 12 + newest[1] - FIRST_MONTH[1] + 1
        for n in range(months):
            year, month = divmod(FIRST_MONTH[0] * 12 + FIRST_MONTH[1] - 1 + n, 12)
            put(world, _invoice(world, n, (year, month + 1), newest))
    return sorted(world.invoices.values(), key=lambda each: (each.period, each.id), reverse=True)


def put(world: World, invoice: Invoice) -> Invoice:
    """Issue an invoice, or another in its place."""
    world.invoices[invoice.uuid] = invoice
    return invoice


def running(world: World) -> Invoice:
    """What the running month has cost by now: every droplet from its beginning, or its own, at its hourly price."""
    now = datetime.fromtimestamp(world.clock.now(), UTC)
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    lines = [_accrued(droplet, start, now) for droplet in world.droplets.rows.values() if not droplet.leaving]
    return Invoice("preview", "", f"{now:%Y-%m}", lines)


def _accrued(droplet: Droplet, start: datetime, now: datetime) -> Line:
    since = max(start, datetime.fromtimestamp(droplet.created_at, UTC))
    hours = min(int((now - since).total_seconds() // 3600) + 1, LONGEST_MONTH_HOURS)
    price = Decimal(str(orjson.loads(droplet.size.json)["price_monthly"])) / LONGEST_MONTH_HOURS
    amount = (price * hours).quantize(Decimal("0.01"))
    what = f"{droplet.name} ({droplet.size.slug})"
    return Line("Droplets", what, str(hours), since, now, amount, resource_id=str(droplet.id))


def month_after(year: int, month: int) -> datetime:
    """The beginning of the month after one."""
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _month_before(at: datetime) -> tuple[int, int]:
    return (at.year, at.month - 1) if at.month > 1 else (at.year - 1, 12)


def _invoice(world: World, n: int, month: tuple[int, int], newest: tuple[int, int]) -> Invoice:
    period, rng = f"{month[0]}-{month[1]:02d}", Random(f"{world.settings.seed} {month}")
    lines = _newest_lines(world, month) if month == newest else _elder_lines(rng, month)
    return Invoice(str(UUID(int=rng.getrandbits(128), version=4)), str(FIRST_INVOICE_ID + 977 * n), period, lines)


def _newest_lines(world: World, month: tuple[int, int]) -> list[Line]:
    start, there = datetime(*month, 1, tzinfo=UTC), iter(_of_one_name(world, before=datetime(*month, 1, tzinfo=UTC)))
    lines: list[Line] = []
    for product, description, hours, usd in _NEWEST:
        droplet = next(there, None) if description == "{}" else None
        lines.append(
            Line(
                product,
                _billed_as(droplet, shouted=not lines) if description == "{}" else description,
                hours,
                *_span(product, hours, start, month_after(*month)),
                Decimal(usd),
                group="historic-k8s" if product == "Kubernetes Clusters" else "",
                project=world.project_of[droplet.urn].name if droplet else "",
                category="saas" if product == "Uptime Health Check" else "iaas",
                resource_id=str(droplet.id) if droplet else "",
            )
        )
    return lines


def _billed_as(droplet: Droplet | None, *, shouted: bool) -> str:
    """A droplet's description. (`shouted`: nobody has promised that the name is written as it is elsewhere.)"""
    if droplet is None:
        return "historic-none (s-1vcpu-1gb)"
    return f"{droplet.name.upper() if shouted else droplet.name} ({droplet.size.slug})"


def _span(product: str, hours: str, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The time of a line. What is metered by the hour ends with the month, all else a second before that."""
    if product in {"Droplets", "Load Balancers", "Droplet Snapshots"}:
        return max(start, end - timedelta(hours=int(hours) or 0.37)), end
    return start, end - timedelta(seconds=1)


def _of_one_name(world: World, before: datetime) -> list[Droplet]:
    """The oldest droplets that are there since before a time, and share their name with no other."""
    rows = [droplet for droplet in world.droplets.rows.values() if not droplet.leaving]
    names = [droplet.name for droplet in rows]
    once = {name for name in names if names.count(name) == 1} if len(names) <= 2000 else set(names)
    old = [each for each in rows if each.name in once and each.created_at < before.timestamp()]
    return sorted(old, key=lambda each: each.created_at)[:CURRENT]


def _elder_lines(rng: Random, month: tuple[int, int]) -> list[Line]:
    start, end = datetime(*month, 1, tzinfo=UTC), month_after(*month)
    full = int((end - start).total_seconds() // 3600)
    lines = []
    for n in range(rng.randint(2, 12)):
        product, description, usd = rng.choice(_ELDER)
        hours = full if rng.random() < 0.7 else rng.randint(1, full)
        share = min(Decimal(hours) / LONGEST_MONTH_HOURS, Decimal(1))
        amount = (Decimal(usd) * share).quantize(Decimal("0.01"))
        span = _span(product, str(hours), start, end)
        lines.append(Line(product, description.format(n + 1), str(hours), *span, amount))
    net = sum((line.amount for line in lines), Decimal(0))
    if month >= GST_SINCE:
        tax = (net / 10).quantize(Decimal("0.01"))
        lines.append(Line("Taxes", "GST (10%)", "", *_span("Taxes", "", start, end), tax))
    return lines
