"""The typed client of `/_control/...`, for tests, benchmarks and the demo."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter

from dev.control import ControlClient
from dev.digitalocean.faults import Fault
from dev.digitalocean.http import Json
from dev.digitalocean.journal import Entry
from dev.digitalocean.settings import Settings


class TrueDroplet(BaseModel):
    """A droplet as it is; `hidden` while a lag keeps it from lists, from lists by tag or from being read."""

    id: int
    name: str
    status: str
    size: str
    region: str
    image: str
    tags: list[str]
    project_id: str
    gpu: bool
    hidden: bool


class TrueProject(BaseModel):
    """A project as it is, and how many resources are in it."""

    id: str
    name: str
    purpose: str
    is_default: bool
    resources: int


class TrueThing(BaseModel):
    """A resource of another kind: its JSON as the API gives it, and where it is."""

    id: str
    project_id: str | None
    row: dict[str, Any]


class TrueRecord(BaseModel):
    """A DNS record as it is, whatever lists show of it; `name` is relative to the zone."""

    zone: str
    id: int
    type: str
    name: str
    data: str
    ttl: int
    priority: int | None
    port: int | None
    weight: int | None
    flags: int | None
    tag: str | None


class TrueInvoice(BaseModel):
    """An invoice; `amount` in USD, `lines`: how many it has."""

    invoice_uuid: str
    invoice_id: str
    invoice_period: str
    amount: Decimal
    lines: int


class Truth(BaseModel):
    """Everything that is there."""

    droplets: list[TrueDroplet]
    projects: list[TrueProject]


class ArmedFault(BaseModel):
    """A fault that is switched on: how many requests it matched, and how many it struck."""

    id: int
    matched: int
    struck: int
    fault: Fault


class Requests(BaseModel):
    """What was asked: the requests, and counts by `METHOD route status`; 0 stands for a connection that was reset."""

    counts: dict[str, int]
    requests: list[Entry]


_faults = TypeAdapter(list[ArmedFault])
_droplets = TypeAdapter(list[TrueDroplet])
_records = TypeAdapter(list[TrueRecord])
_created = TypeAdapter(dict[str, list[int]])
_things = TypeAdapter(list[TrueThing])
_invoices = TypeAdapter(list[TrueInvoice])


class Control(ControlClient):
    """Controls a running stand-in. To be closed, or used in an `async with`."""

    async def reset(self, **settings: Any) -> Settings:
        """Begin anew with another fleet, no faults, an unused budget and an empty journal; what is not named stays."""
        return Settings.model_validate(await self._do("POST", "reset", settings))

    async def set(self, **settings: Any) -> Settings:
        """Change settings and keep the fleet."""
        return Settings.model_validate(await self._do("PATCH", "settings", settings))

    async def advance(self, seconds: float) -> str:
        """Move the provider's clock ahead; gives its time."""
        return str((await self._do("POST", "clock", {"advance": seconds}))["now"])

    async def truth(self) -> Truth:
        """Everything that is there."""
        return Truth.model_validate(await self._do("GET", "truth"))

    async def add_droplets(self, count: int = 1, **fields: Any) -> list[TrueDroplet]:
        """Active droplets at once; the fields are those of a create request, and have defaults."""
        made = await self._do("POST", "droplets", {"count": count, **fields})
        return _droplets.validate_python(made["rows"])

    async def droplets(self, tag: str = "") -> list[TrueDroplet]:
        """The droplets that are there, hidden ones too, except those that are just going; with a tag, where given."""
        rows = _droplets.validate_python((await self._do("GET", "droplets"))["droplets"])
        return [row for row in rows if not tag or tag in row.tags]

    async def created(self, tag: str) -> list[int]:
        """The droplets that the API ever made with a tag, whatever became of them."""
        return _created.validate_python((await self._do("GET", "created"))["created"]).get(tag, [])

    async def change_droplet(self, id: int, **fields: Any) -> TrueDroplet:
        """Rename, retag, resize, switch, move: name, tags, size, status, project_id; or `shown`: what its JSON says."""
        return TrueDroplet.model_validate(await self._do("PATCH", f"droplets/{id}", fields))

    async def delete_droplet(self, id: int) -> None:
        """The droplet is gone at once."""
        await self._do("DELETE", f"droplets/{id}")

    async def add_project(self, name: str, **fields: Any) -> str:
        """A project; gives its id."""
        made = await self._do("POST", "projects", {"name": name, **fields})
        return str(made["rows"][0]["id"])

    async def change_project(self, id: str, **fields: Any) -> None:
        """Rename a project, or change its purpose, description or environment."""
        await self._do("PATCH", f"projects/{id}", fields)

    async def delete_project(self, id: str) -> None:
        """Delete a project; what is in it goes to the default one."""
        await self._do("DELETE", f"projects/{id}")

    async def things(self, family: str) -> list[TrueThing]:
        """All of a family of resources (its plural, as in `/v2/...`; `buckets` and `backups` too), as they are."""
        return _things.validate_python((await self._do("GET", family))[family])

    async def add_thing(self, family: str, **fields: Any) -> TrueThing:
        """One more, at once; the fields are those of its JSON, and have defaults."""
        return TrueThing.model_validate((await self._do("POST", family, fields))["rows"][0])

    async def change_thing(self, family: str, id: str, **fields: Any) -> TrueThing:
        """Put other values into its JSON; `project_id` moves it."""
        return TrueThing.model_validate(await self._do("PATCH", f"{family}/{quote(id, safe='')}", fields))

    async def delete_thing(self, family: str, id: str) -> None:
        """It is gone at once."""
        await self._do("DELETE", f"{family}/{quote(id, safe='')}")

    async def add_zone(self, name: str, *records: Json) -> list[TrueRecord]:
        """A domain with records beside those that every zone begins with; gives those beside."""
        await self.add_thing("domains", name=name)
        return [await self.add_record(name, **record) for record in records]

    async def records(self, zone: str) -> list[TrueRecord]:
        """All records of a zone, as they are."""
        rows = _records.validate_python((await self._do("GET", "domain_records"))["domain_records"])
        return [row for row in rows if row.zone == zone]

    async def add_record(self, zone: str, **fields: Any) -> TrueRecord:
        """A record that lists show at once; the fields are those that the API takes."""
        made = await self._do("POST", "domain_records", {"zone": zone, **fields})
        return TrueRecord.model_validate(made["rows"][0])

    async def change_record(self, id: int, **fields: Any) -> TrueRecord:
        """Change a record, as somebody at the console would."""
        return TrueRecord.model_validate(await self._do("PATCH", f"domain_records/{id}", fields))

    async def delete_record(self, id: int) -> None:
        """It is gone at once."""
        await self._do("DELETE", f"domain_records/{id}")

    async def invoices(self) -> list[TrueInvoice]:
        """All invoices, the newest first."""
        return _invoices.validate_python((await self._do("GET", "invoices"))["invoices"])

    async def add_invoice(self, period: str, **fields: Any) -> TrueInvoice:
        """One more for a month; `fields` as `change_invoice` takes them."""
        return TrueInvoice.model_validate((await self._do("POST", "invoices", {"period": period, **fields}))["rows"][0])

    async def change_invoice(self, uuid: str, **fields: Any) -> TrueInvoice:
        """Other `lines`, each by the names of its fields; another `csv`, whatever the lines are; `credits` in USD."""
        return TrueInvoice.model_validate(await self._do("PATCH", f"invoices/{uuid}", fields))

    async def delete_invoice(self, uuid: str) -> None:
        """It was never issued."""
        await self._do("DELETE", f"invoices/{uuid}")

    async def arm(self, fault: Fault) -> int:
        """Switch a fault on; gives its id."""
        return int((await self._do("POST", "faults", fault.model_dump()))["id"])

    async def disarm(self, id: int | None = None) -> None:
        """Switch one fault off, or all of them."""
        await self._do("DELETE", "faults" if id is None else f"faults/{id}")

    async def faults(self) -> list[ArmedFault]:
        """The faults that are switched on, with how often they struck."""
        return _faults.validate_python((await self._do("GET", "faults"))["faults"])

    async def requests(self, path: str = "", since: float = 0) -> Requests:
        """What was asked under a path, since a time in seconds since 1970."""
        return Requests.model_validate(await self._do("GET", "requests", params={"path": path, "since": since}))

    async def forget_requests(self) -> None:
        """Empty the journal."""
        await self._do("DELETE", "requests")
