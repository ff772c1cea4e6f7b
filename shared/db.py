"""PostgreSQL: pools that know their role, and which errors mean an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeAlias
from uuid import UUID

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction
from pydantic import BaseModel

from shared.config import Settings

Plain: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
Connection: TypeAlias = "Plain | Unbegun"
"""What handlers ask."""


class DatabaseAway(Exception):
    """The database is away, restarting, full or failing over: try again for as long as it lasts.

    `Database` raises this, and only for what its own connections suffer: an error of the code that uses them (a call of
    its own that times out, say) passes as it is.
    """


_SERVER_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
)

OUTAGES = (DatabaseAway, *_SERVER_AWAY, OSError)
"""What an outage of database or broker looks like to code that does nothing but ask them: no handler, no job."""

CONTENTION = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidCachedStatementError,
)
"""Another transaction, or DDL under way, was in the way (or the statement is too slow): the whole transaction is worth
another try, and after some the message is to blame."""

LONGEST_TRANSACTION_S = 300.0
_SESSION = {
    # A frozen process must not hold its locks for longer than this (measured: without it, for as long as it is frozen).
    "idle_in_transaction_session_timeout": "5s",
    # Nor where it is frozen between a statement's parsing and its execution, or within a COPY: then its session is
    # active, waits for the client, and no other time-out of PostgreSQL's counts (measured: minutes, until this came).
    "transaction_timeout": f"{LONGEST_TRANSACTION_S:.0f}s",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "timezone": "UTC",
}
_COMMAND_TIMEOUT_S = 90
_CONNECT_TIMEOUT_S = 10


async def _prepare(connection: Plain) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + to_json(value),
        decoder=lambda raw: orjson.loads(raw[1:]),
    )


async def _unchanged(_: Plain) -> None:
    """Nothing here changes a session, so the round trip that would undo it, at each release, is saved."""


def to_json(value: object) -> bytes:
    """The JSON that a jsonb column keeps of a value. Raises TypeError."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: object) -> object:
    """What orjson cannot write by itself: pydantic models, and asyncpg's own subclass of UUID."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


class Database:
    """A small pool of connections of one role, each with that role's schema as its search path."""

    def __init__(self, pool: asyncpg.Pool[Any], url: str, schema: str) -> None:
        self.pool = pool
        # Who waits in asyncpg's pool is overtaken by newcomers, and then waits at its end again: so nobody waits there.
        self._turns = asyncio.Semaphore(pool.get_max_size())
        self.url = url
        self.schema = schema

    @classmethod
    async def open(
        cls,
        url: str,
        schema: str,
        *,
        size: int = 4,
        name: str = "arcadia",
        longest_s: float = LONGEST_TRANSACTION_S,
    ) -> Self:
        """Connect. `name` is what pg_stat_activity shows; `longest_s` is for transactions. Raises `DatabaseAway`."""
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=size,
                init=_prepare,
                reset=_unchanged,
                command_timeout=_COMMAND_TIMEOUT_S,
                timeout=_CONNECT_TIMEOUT_S,
                server_settings=session_settings(schema, name) | {"transaction_timeout": f"{longest_s * 1000:.0f}ms"},
            )
        except (*_SERVER_AWAY, OSError) as error:
            raise _away(error) from error
        return cls(pool, url, schema)

    @classmethod
    async def of_service(cls, settings: Settings, service: str, *, role: str | None = None) -> Self:
        """The pool of a service, in its own schema; `role` where it is not the service's own."""
        role = role or service
        return await cls.open(
            settings.role_url(role),
            service,
            size=settings.database_pool_size,
            name=f"arcadia-{role}",
            longest_s=settings.database_transaction_timeout_s,
        )

    async def close(self) -> None:
        """Close the pool; connections that do not close within seconds are cut."""
        try:
            async with asyncio.timeout(5):
                await self.pool.close()
        except OUTAGES:
            self.pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Plain]:
        """A connection outside any transaction. Raises `DatabaseAway`, now or from the block."""
        connection = await self._acquired()
        try:
            yield connection
        except Exception as error:
            if is_away(connection, error):
                raise _away(error) from error
            raise
        finally:
            await self._released(connection)

    async def _acquired(self) -> PoolConnectionProxy[Any]:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._turns.acquire()
                try:
                    return await self.pool.acquire()
                except BaseException:
                    self._turns.release()
                    raise
        except (*_SERVER_AWAY, OSError) as error:
            raise _away(error) from error

    async def _released(self, connection: PoolConnectionProxy[Any]) -> None:
        try:
            await self.pool.release(connection)
        except (*_SERVER_AWAY, OSError) as error:
            raise _away(error) from error
        finally:
            self._turns.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Plain]:
        """A connection in a transaction that commits when the block ends well. Raises `DatabaseAway`."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def unbegun(self) -> AsyncIterator[Unbegun]:
        """The same, but that the transaction begins when something is asked. Raises `DatabaseAway`."""
        async with self.connection() as connection:
            unbegun = Unbegun(connection)
            try:
                yield unbegun
            except BaseException:
                await unbegun.end(error=True)
                raise
            await unbegun.end(error=False)


@dataclass(frozen=True)
class Writing:
    """What is to be written: data-modifying CTEs, whose parameters begin at $1, and what must be true once they ran."""

    ctes: str
    holds: str
    arguments: tuple[object, ...]


async def write(conn: Connection, writing: Writing) -> None:
    """Write this: now, but where nothing was asked yet with the last statement, which may be the only one then.

    Where it does not hold, nothing of the transaction is; its batch is handled again, with care.
    """
    if not isinstance(conn, Unbegun):
        await _write_now(conn, writing)
    elif conn.nothing_asked and conn.writing is None:
        conn.writing = writing
    else:
        if before := conn.writing:
            conn.writing = None
            await _write_now(conn, before)
        await _write_now(conn, writing)


async def _write_now(conn: Connection, writing: Writing) -> None:
    await conn.execute(f"with {writing.ctes} select 1 / ({writing.holds})::int", *writing.arguments)


def afterwards(conn: Connection, do: Callable[[], None]) -> None:
    """Do something once this transaction is committed, if it is one that is begun without care."""
    if isinstance(conn, Unbegun):
        conn.afterwards.append(do)


class Unbegun:
    """A connection whose transaction begins with the first thing that is asked of it.

    What is asked only once need not be in one: that one statement is a transaction by itself (`last`). `writing` goes
    with it. `afterwards`: what is to be done once it is committed.
    """

    def __init__(self, connection: Plain) -> None:
        self.writing: Writing | None = None
        self.afterwards: list[Callable[[], None]] = []
        self._connection = connection
        self._transaction: Transaction | None = None

    async def begin(self) -> Plain:
        """The connection, in its transaction."""
        if self._transaction is None:
            transaction = self._connection.transaction()
            await transaction.start()
            self._transaction = transaction
        return self._connection

    @property
    def nothing_asked(self) -> bool:
        """Whether the transaction has not begun."""
        return self._transaction is None

    async def last(self, query: str, *arguments: Any) -> list[Any]:
        """Ask the last thing: by itself, where nothing was asked before."""
        return await self._connection.fetch(query, *arguments)

    async def end(self, error: bool) -> None:
        """Commit what was begun, or undo it."""
        if self._transaction is not None:
            await (self._transaction.rollback() if error else self._transaction.commit())
        if not error:
            for do in self.afterwards:
                do()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        return await (await self.begin()).fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return await (await self.begin()).fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await (await self.begin()).fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> str:
        return await (await self.begin()).execute(query, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A savepoint."""
        async with (await self.begin()).transaction():
            yield

    def is_closed(self) -> bool:
        return self._connection.is_closed()


def is_away(connection: Connection, error: Exception) -> bool:
    """Whether an error in a connection's use is the database's outage, and not of the code that used it."""
    if isinstance(error, _SERVER_AWAY):
        return True
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # so says a pool's connection that is lost, to any call
        return True


def _away(error: Exception) -> DatabaseAway:
    return DatabaseAway(f"{type(error).__name__}: {error}")


def session_settings(schema: str, name: str) -> dict[str, str]:
    """The settings of every session: the search path, and time-outs that keep a stuck process from holding others."""
    return {**_SESSION, "search_path": schema, "application_name": name}
