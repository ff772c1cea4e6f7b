"""The rows, and the world they are in."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from dev.digitalocean.catalog import Image, Region, Size
from dev.digitalocean.clock import Clock
from dev.digitalocean.family import Families
from dev.digitalocean.http import Json
from dev.digitalocean.settings import Settings

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Droplet:
    """A droplet; `disk` is what it has, which a resize may have left smaller than its size's.

    `listed`, `tag_listed`, `readable` and `networked` are the lags of a new one, `leaving` that of a deleted one.
    `event` is the id of the action that is running. `shown` is put in the place of what its JSON would be. `ordinal`
    counts all droplets ever made; addresses follow from it.
    """

    id: int
    ordinal: int
    name: str
    size: Size
    image: Image
    region: Region
    created_at: float
    vpc_uuid: str
    disk: int
    status: str = "new"
    features: tuple[str, ...] = ()
    tags: list[str] = field(default_factory=list)
    snapshot_ids: tuple[int, ...] = ()
    backup_ids: tuple[int, ...] = ()
    volume_ids: tuple[str, ...] = ()
    public: bool = True
    listed: bool = True
    tag_listed: bool = True
    readable: bool = True
    networked: bool = True
    leaving: bool = False
    event: int | None = None
    shown: Json = field(default_factory=dict)
    json: bytes | None = None

    @property
    def urn(self) -> str:
        return f"do:droplet:{self.id}"

    def changed(self) -> None:
        """Forget the JSON that was made of it."""
        self.json = None


@dataclass(slots=True)
class Thing:
    """A resource of which nothing more is known than its JSON; `tags` is the list in it, where it has one."""

    id: str
    body: Json
    tags: list[str] = field(default_factory=list)
    json: bytes | None = None

    def changed(self) -> None:
        """Forget the JSON text that was made of it."""
        self.json = None


@dataclass(slots=True)
class Project:
    """A project and the URNs in it, each with the time when it came."""

    id: str
    name: str
    description: str
    purpose: str
    environment: str
    created_at: float
    updated_at: float
    is_default: bool = False
    members: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Tag:
    """A tag and the ids that carry it, by resource type, in the order in which they were tagged."""

    name: str
    members: dict[str, dict[str, None]] = field(default_factory=dict)


@dataclass(slots=True)
class Action:
    """Something done to a resource; it stays readable when the resource is gone."""

    id: int
    type: str
    resource_id: int
    resource_type: str
    region: Region
    started_at: float
    status: str = "in-progress"
    completed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A DNS record; `name` is relative to its zone, and `data` has no dot at its end."""

    id: int
    type: str
    name: str
    data: str
    ttl: int
    priority: int | None = None
    port: int | None = None
    weight: int | None = None
    flags: int | None = None
    tag: str | None = None


@dataclass(slots=True)
class Zone:
    """The records of a domain, and those that its list shows; both by id.

    `writes` counts the changes. `shown` has, by record, the number of the one that the list shows.
    """

    name: str
    records: dict[int, Record] = field(default_factory=dict)
    listed: dict[int, Record] = field(default_factory=dict)
    writes: int = 0
    shown: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an invoice. `amount` in USD; `hours`, as the file has them, may be empty, or count something else."""

    product: str
    description: str
    hours: str
    start: datetime
    end: datetime
    amount: Decimal
    group: str = ""
    project: str = ""
    category: str = "iaas"
    resource_id: str = ""
    resource_uuid: str = ""


@dataclass(slots=True)
class Invoice:
    """An invoice. `csv`: what its file is, where that is not what follows from its lines. `credits`: in no line."""

    uuid: str
    id: str
    period: str
    lines: list[Line]
    csv: str | None = None
    credits: Decimal = Decimal(0)

    @property
    def amount(self) -> Decimal:
        """What is to be paid, in USD."""
        return sum((line.amount for line in self.lines), self.credits)


class Table(Generic[K, V]):
    """The rows of one family, and lists of them, each made once and kept until a row comes, goes or shows itself."""

    def __init__(self) -> None:
        self.rows: dict[K, V] = {}
        self._lists: dict[str, list[V]] = {}

    def listing(self, name: str, keep: Callable[[V], bool]) -> list[V]:
        """The rows that `keep` accepts, remembered under `name`. Not to be changed by the caller."""
        if name not in self._lists:
            self._lists[name] = [row for row in self.rows.values() if keep(row)]
        return self._lists[name]

    def add(self, key: K, row: V) -> V:
        """Put a row at the end."""
        self.rows[key] = row
        self.relist()
        return row

    def remove(self, key: K) -> None:
        """Take a row out."""
        del self.rows[key]
        self.relist()

    def relist(self) -> None:
        """Forget the lists, after something that decides about them changed."""
        self._lists.clear()


class World:
    """Everything that the provider knows. Ids grow, and with the times and names follow from the seed."""

    FIRST_DROPLET_ID = 536_572_909  # an id of December 2025
    FIRST_ACTION_ID = 2_147_480_000  # they pass 31 bits: a column that is too narrow shows
    FIRST_IMAGE_ID = 170_000_000
    FIRST_RECORD_ID = 1_790_000_000

    def __init__(self, settings: Settings, families: Families) -> None:
        self.settings = settings
        self.families = families
        self.clock = Clock(settings.clock)
        self.rng = random.Random(settings.seed)
        self.owner_uuid = self.new_uuid()
        self.account_uuid = f"{self.rng.getrandbits(160):040x}"  # 40 hexadecimal digits, not a UUID
        self.droplets: Table[int, Droplet] = Table()
        self.actions: dict[int, Action] = {}
        self.actions_of: dict[int, list[Action]] = {}
        self.projects: dict[str, Project] = {}
        self.tags: dict[str, Tag] = {}
        self.project_of: dict[str, Project] = {}
        self.things: dict[str, Table[str, Thing]] = {}
        self.vpcs: dict[str, str] = {}
        self.zones: dict[str, Zone] = {}
        self.invoices: dict[str, Invoice] = {}
        self.created: dict[str, list[int]] = {}  # tag -> the droplets that the API ever made with it
        self._ordinal = 0
        self._last_droplet_id = self.FIRST_DROPLET_ID
        self._last_action_id = self.FIRST_ACTION_ID
        self._last_image_id = self.FIRST_IMAGE_ID
        self._last_record_id = self.FIRST_RECORD_ID

    def new_uuid(self) -> str:
        """A UUID that follows from the seed."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def new_droplet_id(self) -> int:
        """Larger than any before; others' droplets lie between."""
        self._last_droplet_id += self.rng.randint(1, 40)
        return self._last_droplet_id

    def new_ordinal(self) -> int:
        """How many droplets there have been."""
        self._ordinal += 1
        return self._ordinal

    def new_action_id(self) -> int:
        """Larger than any before."""
        self._last_action_id += self.rng.randint(1, 90)
        return self._last_action_id

    def new_image_id(self) -> int:
        """Larger than any before."""
        self._last_image_id += self.rng.randint(1, 20)
        return self._last_image_id

    def new_record_id(self) -> int:
        """Larger than any before, in whatever zone. It takes nothing from the seed, whose fleet stays as it was."""
        self._last_record_id += 1 + self._last_record_id % 7
        return self._last_record_id

    def default_vpc(self, region: Region) -> str:
        """The VPC into which a region's droplets go."""
        if region.slug not in self.vpcs:
            self.vpcs[region.slug] = self.new_uuid()
        return self.vpcs[region.slug]

    def default_project(self) -> Project:
        """Where everything goes that names no project."""
        return next(project for project in self.projects.values() if project.is_default)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Have `do` called so many of the provider's seconds from now."""
        self.clock.at(self.clock.now() + seconds, do)
