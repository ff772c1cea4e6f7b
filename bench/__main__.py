"""`python -m bench NAME... [--json] [--write]`: run benchmarks. The last line of `--json` is one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from dev.stack import Stack

BENCHMARKS = {
    "pipeline": "bench.pipeline",
    "inventory-sync": "bench.inventory_sync",
    "gateway-read": "bench.gateway_read",
    "deployment-show": "bench.deployment_show",
    "gateway-write": "bench.gateway_write",
    "sagas": "bench.sagas",
    "invoice-ingest": "bench.invoice_ingest",
    "meter-day": "bench.meter_day",
    "quotes": "bench.quotes",
    "usage-ingest": "bench.usage_ingest",
    "drift-sweep": "bench.drift_sweep",
}
_DOCS = Path(__file__).parents[1] / "docs"


def main() -> int:
    """Run what was asked for; 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object per benchmark, nothing else")
    parser.add_argument("--write", action="store_true", help="write these into docs/benchmarks.md and benchmarks.json")
    chosen = parser.parse_args()
    say = (lambda _: None) if chosen.json else (lambda text: print(text, flush=True))
    reports = []
    with Stack(f"bench-{os.getpid()}", ephemeral=True, say=say) as stack:
        for name in chosen.names or BENCHMARKS:
            report = asyncio.run(importlib.import_module(BENCHMARKS[name]).run(stack)).as_dict()
            print(json.dumps(report) if chosen.json else _table(report), flush=True)
            reports.append(report)
    if chosen.write:
        _write(reports)
    return 0 if all(report["met"] for report in reports) else 1


def _table(report: dict[str, Any]) -> str:
    lines = [f"### {report['name']}", "", report["what"] + ".", ""]
    lines += ["| figure | ours | beside | ratio | bar | met |", "|---|---|---|---|---|---|"]
    for f in report["figures"]:
        bar = f"{'>=' if f['better'] == 'higher' else '<='} {f['bar']}"
        beside = f"{f['peer']:,} {f['unit']} ({f['peer_is']})"
        met = "yes" if f["met"] else "no"
        lines.append(f"| {f['name']} | {f['ours']:,} {f['unit']} | {beside} | {f['ratio']} | {bar} | {met} |")
    notes = "; ".join(f"{name}: {value}" for name, value in report["notes"].items())
    return "\n".join([*lines, "", f"{notes}; {_where(report)}." if notes else f"{_where(report)}.", ""])


def _where(report: dict[str, Any]) -> str:
    machine = report["machine"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, {report['at']}"
    )


def _write(reports: list[dict[str, Any]]) -> None:
    """Into the documents, beside those of other runs: a figure and its peer's are always of one."""
    file = _DOCS / "benchmarks.json"
    known = {report["name"]: report for report in json.loads(file.read_text())} if file.exists() else {}
    known |= {report["name"]: report for report in reports}
    kept = [known[name] for name in BENCHMARKS if name in known]
    head = (
        "# Benchmarks\n\nWritten by `make bench`; the same figures as JSON: `benchmarks.json`. Ours and the peer's "
        "come from one run on one machine, servers and all; only the ratios travel to another.\n"
    )
    _DOCS.joinpath("benchmarks.md").write_text("\n".join([head, *map(_table, kept)]))
    file.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
