"""Walking the pages of a list, and knowing afterwards whether anything can have been missed.

The provider pages by number, without a snapshot. While a list is walked,

- an **insertion** moves rows to later pages: some are seen twice, none is hidden. Rows are de-duplicated by identity.
- a **deletion** on a page already read moves every later row forward: the first row of the next page slides onto the
  page that was just read, and is hidden. It shows in one way only: `meta.total` is smaller than on the page before.

So when the total has fallen by d, the walk steps back over the last d positions and reads them again: whatever slid
away is there. A page shorter than the others is read again too. A walk is **complete** when every page up to the last
was read, each fall of the total was caught up with in this way, and at least as many distinct rows were seen as the
last total says. Where fewer were (something was inserted on a page already read, or the provider left rows out), the
list is read once more from its start, until they are.

Complete then means: every row that existed when the walk began, and still does, was shown. There is one gap that page
numbers cannot close: a deletion and an insertion between the same two requests leave the total as it was. Hence one
complete walk is never taken as proof that something is gone; see the strikes in `services/inventory`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from shared.digitalocean.call import Call
from shared.digitalocean.errors import BadAnswer

Row = dict[str, Any]
Body = dict[str, Any]

PER_PAGE = 200
"""The most that the provider gives on one page."""

MAX_STEPS_BACK = 25


@dataclass(frozen=True, slots=True)
class Listing:
    """One list at the provider: where it is, the key of its rows in the answer, and what identifies a row."""

    call: Call
    key: str
    identity: str = "id"
    paginated: bool = True


@dataclass
class PageLedger:
    """What one listing has shown so far, which page to ask for next, and whether rows can have been missed. No I/O."""

    listing: Listing
    seen: set[Hashable] = field(default_factory=set)
    doubts: list[str] = field(default_factory=list)
    page: int = 1
    _total: int | None = None
    _safe: int = 0  # pages from the first on, of which nothing is hidden as of `_total`
    _rows_on_a_page: int = 0
    _steps_back: int = 0
    _laps: int = 1
    _query: dict[str, str] = field(default_factory=dict)
    blank: bool = False
    """Whether the only answer was an empty object, which some lists give in place of an empty list."""

    @property
    def params(self) -> Mapping[str, str]:
        """The query of the page to ask for."""
        if not self.listing.paginated:
            return self.listing.call.params
        paging = {"page": str(self.page), "per_page": str(PER_PAGE)}
        return {**self.listing.call.params, **self._query, **paging}

    @property
    def missing(self) -> int:
        """How many rows fewer were seen than the provider says there are."""
        return max(0, (self._total or 0) - len(self.seen))

    def record(self, body: Body) -> tuple[list[Row], bool]:
        """Takes the answer to `params`: the rows not seen before, and whether there is a page to ask for (`page`)."""
        rows = self._rows(body)
        fresh = self._fresh(rows)
        self.blank = not body and not self.seen
        if not self.listing.paginated:
            return fresh, False
        next_page = self._next_page(body, len(rows), bool(fresh))
        if next_page is None:
            self._conclude()
            return fresh, False
        self.page = next_page
        return fresh, True

    def _rows(self, body: Body) -> list[Row]:
        rows = body.get(self.listing.key)
        if isinstance(rows, list):
            return rows
        # An empty collection may come as null or, for apps, as {}: that has no total, so it proves nothing.
        empty = self.listing.key in body or _total(body) == 0 or (not body and self.listing.paginated)
        if rows is None and empty:
            return []
        raise BadAnswer(self.listing.call, f"the answer has no list {self.listing.key!r}", status=200)

    def _fresh(self, rows: list[Row]) -> list[Row]:
        identity = self.listing.identity
        try:
            by_id = {row[identity]: row for row in rows}
        except (KeyError, TypeError):
            raise BadAnswer(self.listing.call, f"a row has no {identity!r}", status=200) from None
        if not self.seen.isdisjoint(by_id):
            by_id = {key: row for key, row in by_id.items() if key not in self.seen}
        self.seen.update(by_id)
        return list(by_id.values())

    def _next_page(self, body: Body, count: int, brought_news: bool) -> int | None:
        linked = self._linked_page(body)
        if not self._settled(_total(body), count, has_next=linked is not None):
            return self._safe + 1
        if self._laps > 1 and not self.missing:
            return None
        if linked is not None:
            self._check_progress(brought_news)
            return linked
        if self.missing and count >= PER_PAGE and self.page * PER_PAGE < (self._total or 0):
            return self.page + 1  # `links` can be missing, or be empty
        if self.missing and self._laps == 1 and not self.doubts:
            self._laps, self._safe = 2, 0
            return 1
        return None

    def _linked_page(self, body: Body) -> int | None:
        """The page number in `links.pages.next`, of which only the query is used: no token goes to another host."""
        url = _within(_within(body, "links"), "pages").get("next")
        if not url:
            return None
        query = dict(parse_qsl(str(url).partition("?")[2]))
        page = query.pop("page", str(self.page + 1))
        if page != str(self.page + 1):
            raise BadAnswer(self.listing.call, f"page {self.page} is followed by page {page}: going round", status=200)
        self._query = query
        return self.page + 1

    def _settled(self, total: int | None, count: int, *, has_next: bool) -> bool:
        """Whether nothing slid away before or on this page. If not, all pages after `_safe` must be read again."""
        expected, self._rows_on_a_page = self._rows_on_a_page, max(count, self._rows_on_a_page)
        fell = 0 if total is None else max(0, (self._total or 0) - total)
        self._total = self._total if total is None else total
        if fell:
            safe = self._safe - -(-fell // max(1, self._rows_on_a_page))
        elif expected and count > expected:
            safe = 0  # this page has the right length, so those before were short
        elif has_next and count < expected:
            safe = self.page - 1
        else:
            self._safe = self._safe if total is None else self.page
            return True
        self._safe = max(0, safe)
        return not self._may_step_back()

    def _may_step_back(self) -> bool:
        self._steps_back += 1
        if self._steps_back == MAX_STEPS_BACK:
            self.doubts.append("the list kept changing while it was walked")
        return self._steps_back < MAX_STEPS_BACK

    def _check_progress(self, brought_news: bool) -> None:
        """Refuses a list that goes on behind its own end, where a provider in error may repeat a page for ever."""
        behind_the_end = (self.page - 1) * self._rows_on_a_page >= (self._total or 0)
        if behind_the_end and not brought_news:
            raise BadAnswer(self.listing.call, f"page {self.page} repeats rows and is followed by another", status=200)

    def _conclude(self) -> None:
        if self._total is None:
            self.doubts.append("no answer says how many rows there are")
        elif self.missing:
            self.doubts.append(f"{self.missing} of {self._total} rows were not shown")


class Walk:
    """The pages of one list, or of several that are one to the caller. Iterate it once, then ask if it is `complete`.

    It yields the rows not shown before, a page at a time, never an empty page. Beyond the page in the caller's hands it
    holds the next one, asked for meanwhile, and the identities seen (some 10 MB for 100,000 rows).
    """

    def __init__(self, fetch: Callable[[Call], Coroutine[Any, Any, Body]], listings: Sequence[Listing]) -> None:
        self._fetch = fetch
        self._ledgers = [PageLedger(listing) for listing in listings]
        self._exhausted = False

    @property
    def complete(self) -> bool:
        """True when nothing that existed throughout the walk can have been missed. False until the walk has ended."""
        return self._exhausted and not self.doubts

    @property
    def doubts(self) -> list[str]:
        """Why the walk is not complete, a sentence each, for the log and for the operator."""
        return [f"{ledger.listing.call}: {doubt}" for ledger in self._ledgers for doubt in ledger.doubts]

    @property
    def blank(self) -> bool:
        """True when the walk has ended and nothing was answered, no list and no total: that tells nothing."""
        return self._exhausted and all(ledger.blank for ledger in self._ledgers)

    async def __aiter__(self) -> AsyncGenerator[list[Row], None]:
        for number, ledger in enumerate(self._ledgers):
            async with aclosing(self._pages(ledger)) as pages:
                async for rows in pages:
                    if fresh := self._not_listed_before(rows, number):
                        yield fresh
        self._exhausted = True

    def _not_listed_before(self, rows: list[Row], number: int) -> list[Row]:
        identity = self._ledgers[number].listing.identity
        for earlier in self._ledgers[:number]:
            rows = [row for row in rows if row[identity] not in earlier.seen]
        return rows

    async def _pages(self, ledger: PageLedger) -> AsyncGenerator[list[Row], None]:
        ahead: asyncio.Task[Body] | None = self._ask(ledger)
        try:
            while ahead is not None:
                rows, more = ledger.record(await ahead)
                ahead = self._ask(ledger) if more else None
                yield rows
        finally:
            if ahead is not None:
                await _drop(ahead)

    def _ask(self, ledger: PageLedger) -> asyncio.Task[Body]:
        call = ledger.listing.call
        page = Call(call.method, call.route, call.path, ledger.params)
        return asyncio.create_task(self._fetch(page))


async def _drop(task: asyncio.Task[Body]) -> None:
    """Ends a request whose answer nobody wants any more, and takes note of how it failed."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def _total(body: Body) -> int | None:
    total = _within(body, "meta").get("total")
    return total if isinstance(total, int) and total >= 0 else None


def _within(body: Body, key: str) -> Body:
    inner = body.get(key)
    return inner if isinstance(inner, dict) else {}
