"""`twin cluster`: how the cluster is, as a table.

It owns the command's arguments, the table and the exit code; gathering is `ops.cluster_status`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pipecatapp.app.cluster import consul_of, nomad_of
from pipecatapp.app.configuration import load_settings
from pipecatapp.ops.cluster_status import ClusterStatus, fetch
from pipecatapp.ports import JobGroup
from pipecatapp.settings import Settings

EXIT_ILL = 1
"""Something of the cluster cannot be told, or is not as it should be."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("cluster", help="look at the cluster")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser(
        "status",
        help="nodes, leaders, jobs and services",
        description="Show nodes, leaders, jobs and services. Tokens come from CONSUL_HTTP_TOKEN and "
        "NOMAD_TOKEN, or, for root on a controller, from their files. Exits 1 when something is not well.",
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(func=_status)


def _status(options: argparse.Namespace) -> int:
    status = asyncio.run(_fetch(load_settings()))
    faults = status.faults()
    if options.json:
        print(json.dumps({"ok": not faults, "faults": faults, **asdict(status)}, indent=1))
        return EXIT_ILL if faults else 0
    print("\n".join(format_status(status)))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print("Everything is well.")
    return EXIT_ILL if faults else 0


async def _fetch(settings: Settings) -> ClusterStatus:
    consul, nomad = consul_of(settings), nomad_of(settings)
    try:
        return await fetch(consul, nomad)
    finally:
        await consul.close()
        await nomad.close()


def format_status(status: ClusterStatus) -> Iterator[str]:
    """Return the table's lines."""
    yield f"leaders: Consul {status.consul_leader or 'none'}, Nomad {status.nomad_leader or 'none'}"
    yield from _table(
        ("NODE", "ADDRESS", "ROLE", "CONSUL", "NOMAD"),
        [(node.name, node.address, node.role, node.consul, node.nomad) for node in status.nodes],
    )
    yield from _table(
        ("JOB", "TYPE", "STATUS", "WELL"),
        [
            (job.id, job.type, "stopped" if job.is_stopped else job.status, _counts(job.groups))
            for job in status.jobs
        ],
    )
    yield from _table(
        ("SERVICE", "PASSING", "NODES"),
        [
            (service.name, f"{service.passing}/{service.instances}", ", ".join(service.nodes))
            for service in status.services
        ],
    )


def _counts(groups: Sequence[JobGroup]) -> str:
    return ", ".join(f"{group.name} {group.healthy}/{group.wanted}" for group in groups)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield aligned lines; nothing without rows."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    yield ""
    for row in [head, *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
