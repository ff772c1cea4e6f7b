"""The typed client of `/_control/...`, for tests and the demo."""

from __future__ import annotations

from pydantic import TypeAdapter

from dev.control import ControlClient
from dev.finance.books import Invoice, Vendor
from dev.finance.journal import Effect, Entry, Fault

_invoices = TypeAdapter(list[Invoice])
_vendors = TypeAdapter(list[Vendor])
_requests = TypeAdapter(list[Entry])


class FinanceControl(ControlClient):
    """Controls a running stand-in. To be closed, or used in an `async with`."""

    async def invoices(self) -> list[Invoice]:
        """All invoices of all tenants, in the order in which they first came."""
        return _invoices.validate_python((await self._do("GET", "invoices"))["invoices"])

    async def vendors(self) -> list[Vendor]:
        """All vendors of all tenants."""
        return _vendors.validate_python((await self._do("GET", "vendors"))["vendors"])

    async def requests(self) -> list[Entry]:
        """Every POST since the start or the last reset, as it came."""
        return _requests.validate_python((await self._do("GET", "requests"))["requests"])

    async def arm(self, effect: Effect, *, count: int = 1, seconds: float = 1.0, status: int = 503) -> None:
        """Switch a fault on, for the next `count` POSTs that no earlier one strikes."""
        fault = Fault(effect=effect, count=count, seconds=seconds, status=status)
        await self._do("POST", "faults", fault.model_dump())

    async def disarm(self) -> None:
        """Switch all faults off."""
        await self._do("DELETE", "faults")

    async def reset(self) -> None:
        """Forget invoices, vendors, requests and faults."""
        await self._do("POST", "reset")
