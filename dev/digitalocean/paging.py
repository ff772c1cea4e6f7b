"""The pages of a list: what is asked, the rows of it, and the links and totals around them."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlencode

from dev.digitalocean.faults import twist_body, twist_rows
from dev.digitalocean.http import Answer, Json, Request, answer, unprocessable

T = TypeVar("T")

PER_PAGE = 20
MOST_PER_PAGE = 200


def page(
    request: Request,
    key: str,
    rows: Sequence[T],
    body_of: Callable[[T], object],
    *,
    always_ends: bool = False,
    beside: Json | None = None,
) -> Answer:
    """One page of `rows`, with what is `beside` them on each.

    `always_ends` gives `first` and `last` even to a single page, as project resources do.
    """
    number = _asked(request, "page", 1)
    # A larger page than allowed is cut to the largest.
    size = min(_asked(request, "per_page", PER_PAGE), MOST_PER_PAGE)
    rows = twist_rows(request, rows)
    start = (number - 1) * size
    body: Json = {
        key: [body_of(row) for row in rows[start : start + size]],
        "links": links(request, number, max(1, -(-len(rows) // size)), always_ends=always_ends),
        "meta": {"total": len(rows)},
        **(beside or {}),
    }
    twist_body(request.faults, key, body)
    return answer(body)


def links(request: Request, number: int, last: int, *, always_ends: bool = False) -> Json:
    """`first` and `prev` except on the first page, `next` and `last` except on the last; absolute, with the query."""

    def to(page_number: int) -> str:
        return f"{request.base_url}{request.path}?{urlencode({**request.query, 'page': page_number})}"

    pages: dict[str, str] = {}
    if number > 1:
        pages |= {"first": to(1), "prev": to(min(number - 1, last))}
    if number < last:
        pages |= {"next": to(number + 1), "last": to(last)}
    if last == 1 and number == 1 and always_ends:
        pages = {"first": to(1), "last": to(1)}
    return {"pages": pages} if pages else {}


def _asked(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise unprocessable(f"{name} must be a positive integer.")
    return int(text)
