"""The OpenAPI document as one page of HTML that needs no script and no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import orjson
from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h2 { border-bottom: 1px solid #d0d7de; margin-top: 3rem; text-transform: capitalize }
h3 { font-size: 1rem; margin-top: 2rem } h3 code { background: none }
code, pre { font: 13px/1.5 ui-monospace, monospace; background: #f6f8fa; border-radius: 4px; padding: .1em .3em }
pre { padding: .8em; overflow: auto } table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #eaeef2; padding: .3em .6em; text-align: left; vertical-align: top }
.method { display: inline-block; min-width: 4em; font-weight: 600; color: #0b5fff } .public { color: #1a7f37 }
"""


class Page(OpenAPIRenderPlugin):
    """Shows the document to a person."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page."""
        return "".join(_page(openapi_schema)).encode()


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    title = escape(document["info"]["title"])
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    yield f"<style>{_STYLE}</style><h1>{title}</h1>"
    yield from (f"<p>{escape(part)}</p>" for part in document["info"]["description"].strip().split("\n\n"))
    links = (f'<a href="schema/openapi.{kind}">openapi.{kind}</a>' for kind in ("json", "yaml"))
    yield f"<p>For programs: {', '.join(links)}.</p>"
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>"
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(method, path, operation)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    public = ' <span class="public">public</span>' if operation.get("security") == [{}] else ""
    yield f'<h3 id="{operation["operationId"]}"><span class="method">{method.upper()}</span>'
    yield f" <code>{escape(path)}</code>{public}</h3><p>{escape(operation['description'])}</p>"
    yield from _table(
        ("parameter", "in", "meaning"),
        [(p["name"], p["in"], p.get("description", "")) for p in operation.get("parameters", ())],
    )
    if body := operation.get("requestBody"):
        schemas = [content["schema"] for content in body["content"].values()]
        yield f"<p>Body: {', '.join(f'<code>{escape(_name(schema))}</code>' for schema in schemas)}</p>"
    answers = sorted(operation["responses"].items())
    yield from _table(("status", "answer"), [(status, answer["description"]) for status, answer in answers])
    yield from (_example(status, answer) for status, answer in answers if status < "400")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        cells = "".join(f"<th>{cell}</th>" for cell in head)
        lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
        yield f"<table><tr>{cells}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _example(status: str, answer: Mapping[str, Any]) -> str:
    contents = answer.get("content") or {}
    examples = [example["value"] for content in contents.values() for example in content.get("examples", {}).values()]
    pretty = (orjson.dumps(example, option=orjson.OPT_INDENT_2).decode() for example in examples)
    return "".join(f"<pre>{status} {escape(text)}</pre>" for text in pretty)


def _name(schema: Mapping[str, Any]) -> str:
    """A schema's name, or the names of those it is one of."""
    if alternatives := schema.get("oneOf"):
        return " or ".join(_name(each) for each in alternatives)
    return str(schema.get("$ref", schema.get("type", "anything"))).rpartition("/")[2]
