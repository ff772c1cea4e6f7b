"""`arcadia token` and `arcadia demo`: for development only."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Annotated

import typer

from cli.errors import Failed

_ROLE = "Roles as the issuer grants them; may be repeated."


def token(
    *,
    tenant: Annotated[str, typer.Option(help="Whose token it is.")] = "platform",
    email: Annotated[str, typer.Option(help="Who acts.")] = "dev@arcadia.example",
    operator: Annotated[bool, typer.Option("--operator", help="With the roles of an operator.")] = False,
    role: Annotated[list[str] | None, typer.Option(help=_ROLE)] = None,
    hours: Annotated[float, typer.Option(help="How long it is valid; negative: it has expired.")] = 12,
) -> None:
    """Mint a token as the issuer does, signed with the first of JWT_SECRETS or the development secret.

    curl -H "authorization: Bearer $(arcadia token --operator)" localhost:4005/api/v1/inventory
    """
    try:
        from dev.tokens import OPERATOR_ROLES, mint
    except ImportError:
        raise Failed("tokens are minted in development only\n  Here they come from the issuer.") from None
    roles = [*(OPERATOR_ROLES if operator else ()), *(role or ())]
    lifetime = timedelta(hours=hours).total_seconds()
    typer.echo(mint(tenant, email, roles, secret=_secret(), lifetime_s=lifetime))


def demo(*, keep: Annotated[bool, typer.Option("--keep", help="Let everything run until Ctrl-C.")] = False) -> None:
    """Tell the story of a fleet, on a stack of its own. Nothing it does leaves this machine."""
    arguments = [sys.executable, "-m", "dev.demo", *(["--keep"] if keep else [])]
    os.execv(sys.executable, arguments)  # noqa: S606 - no shell is meant


def _secret() -> str:
    from pydantic import TypeAdapter, ValidationError

    from dev.tokens import DEVELOPMENT_SECRET

    given = os.environ.get("JWT_SECRETS")
    try:
        return TypeAdapter(list[str]).validate_json(given)[0] if given else DEVELOPMENT_SECRET
    except (ValidationError, IndexError):
        raise Failed(
            "JWT_SECRETS is not a JSON list of secrets\n  Set it like this: JWT_SECRETS='[\"secret\"]'"
        ) from None
