"""Schemas, roles and migrations: what `arcadia migrate` does.

Per service: a schema, an owner role that makes it, and a role of the service's name that may only read and write rows.
The gateway has two more roles, without any grant on a table: `gateway_tenant` may read the published views `v1_*`,
`gateway_operator` the views `v1_all_*`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from shared.config import Settings

RUNTIME_MIGRATIONS = Path(__file__).parent / "migrations"
TENANT_ROLE = "gateway_tenant"
OPERATOR_ROLE = "gateway_operator"
# Views that a tenant's role may read although they are not scoped, because they hold nothing but ownership.
UNSCOPED_VIEWS = frozenset({"v1_deployment_owner"})

_LOCK = 0x41524341444941  # "ARCADIA": one migration run at a time


class MigrationFailed(Exception):
    """dbmate refused a migration. The message is what it said."""


async def migrate(settings: Settings, services: Mapping[str, Path]) -> None:
    """Bring every service's schema up to date; `services`: their directories of migrations by schema. Repeatable.

    Raises `MigrationFailed`.
    """
    admin = settings.database_url.get_secret_value()
    conn = await asyncpg.connect(admin, timeout=10)
    try:
        await conn.execute("select pg_advisory_lock($1)", _LOCK)
        for role in (*services, *(_owner(schema) for schema in services), TENANT_ROLE, OPERATOR_ROLE):
            await _ensure_role(conn, role, settings.role_password)
        for schema, directory in services.items():
            await _ensure_schema(conn, schema)
            await _dbmate(settings, schema, directory)
        for schema in services:
            await _grant(conn, schema)
    finally:
        await conn.close()


def _owner(schema: str) -> str:
    return f"{schema}_owner"


async def _ensure_role(conn: asyncpg.Connection, role: str, password: str) -> None:
    """A login role without any special right, with this password; whoever migrates may act as it.

    An administrator who may create roles is enough for all of this, as managed databases give one; no superuser.
    """
    await conn.execute(
        f"""
        do $$ begin
          create role {_identifier(role)} login;
          grant {_identifier(role)} to current_user with inherit true, set true;
        exception when duplicate_object or unique_violation then null;
        end $$
        """
    )
    literal = await conn.fetchval("select quote_literal($1::text)", password)
    await conn.execute(f"alter role {_identifier(role)} login password {literal}")


async def _ensure_schema(conn: asyncpg.Connection, schema: str) -> None:
    owner, name = _identifier(_owner(schema)), _identifier(schema)
    database = _identifier(await conn.fetchval("select current_database()"))
    await conn.execute(
        f"""
        create schema if not exists {name} authorization {owner};
        grant usage on schema {name} to {name}, {TENANT_ROLE}, {OPERATOR_ROLE};
        grant connect on database {database} to {owner}, {name}, {TENANT_ROLE}, {OPERATOR_ROLE};
        alter default privileges for role {owner} in schema {name}
          grant select, insert, update, delete on tables to {name};
        alter default privileges for role {owner} in schema {name} grant usage on sequences to {name};
        """
    )


async def _dbmate(settings: Settings, schema: str, directory: Path) -> None:
    """Apply the runtime's and the service's migrations as the schema's owner."""
    environment = {"DATABASE_URL": _dbmate_url(settings, schema), "PATH": os.environ.get("PATH", "")}
    arguments = ["--no-dump-schema", "--migrations-table", f"{schema}.schema_migrations"]
    for migrations in (RUNTIME_MIGRATIONS, directory):
        arguments += ["--migrations-dir", str(migrations)]
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "dbmate"),
        *arguments,
        "migrate",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise MigrationFailed(f"schema {schema}: {output.decode(errors='replace').strip()}")


def _dbmate_url(settings: Settings, schema: str) -> str:
    """The owner's URL; lib/pq wants `sslmode` said, and takes `search_path` as a parameter of the session."""
    parts = urlsplit(settings.role_url(_owner(schema)))
    query = {"sslmode": "disable", **dict(parse_qsl(parts.query)), "search_path": schema}
    return urlunsplit(parts._replace(query=urlencode(query)))


async def _grant(conn: asyncpg.Connection, schema: str) -> None:
    """Let the gateway's roles read this schema's published views, and nothing else in it.

    In one transaction: a gateway that serves meanwhile never sees itself without rights.
    """
    name = _identifier(schema)
    async with conn.transaction():
        await conn.execute(f"revoke all on all tables in schema {name} from {TENANT_ROLE}, {OPERATOR_ROLE}, public")
        for view in await _published(conn, schema):
            role = OPERATOR_ROLE if view.split("_")[1] == "all" else TENANT_ROLE
            await conn.execute(f"grant select on {name}.{_identifier(view)} to {role}")
            if view in UNSCOPED_VIEWS:
                await conn.execute(f"grant select on {name}.{_identifier(view)} to {OPERATOR_ROLE}")


async def _published(conn: asyncpg.Connection, schema: str) -> list[str]:
    rows = await conn.fetch("select viewname from pg_views where schemaname = $1 and viewname ~ '^v[0-9]+_'", schema)
    return [row["viewname"] for row in rows]


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
