"""How the stand-in behaves. Every setting is an option of the command and can be changed at `/_control/settings`."""

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Durations are the provider's seconds: a `speed` of 20 makes a 45-second creation take 2.25 real ones."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, use_attribute_docstrings=True)

    seed: int = 42
    """The fleet, its names, tags and ids follow from it."""
    droplets: int = Field(300, ge=0, le=1_000_000)
    """How many droplets are there at the start."""
    gpus: int = Field(0, ge=0)
    """How many GPU droplets there are besides; the plain listing leaves them out."""
    others: int = Field(0, ge=0)
    """How many resources of the other kinds there are for each hundred droplets, in an agency's proportions."""
    projects: int = Field(12, ge=1)
    """How many projects there are at the start, the default one included."""
    clock: AwareDatetime = datetime(2026, 5, 12, 9, tzinfo=UTC)
    """When the provider's time begins."""
    speed: float = Field(1.0, ge=0)
    """How fast the provider's time runs; 0 stops it, so that only `/_control/clock` moves it."""

    create_seconds: float = Field(45, ge=0)
    """From the creation of a droplet to `active`."""
    list_lag: float = Field(3, ge=0)
    """How long lists do not show a new droplet."""
    tag_lag: float = Field(2, ge=0)
    """How much longer lists by tag do not show it."""
    read_lag: float = Field(0, ge=0)
    """How long a new droplet answers 404 by its id."""
    networks_lag: float = Field(0, ge=0)
    """How long an active droplet has no addresses yet."""
    delete_lag: float = Field(15, ge=0)
    """How long a deleted droplet can still be read and is listed."""
    effect_lag: float = Field(0, ge=0)
    """How long a droplet shows the status, the size and the name that it had before an action that is completed, and
    the tags that it had before others were put on or taken off."""

    refuse_delete_during_event: bool = True
    """A droplet cannot be deleted while an action runs on it; off: the deletion is taken, and waits for the action."""
    records_lag: float = Field(0, ge=0)
    """How long the lists of DNS records do not show a write; a record by its id shows it at once."""

    droplet_limit: int = Field(1_000_000, ge=0)
    """How many droplets the account may have."""
    tags_per_resource: int = Field(0, ge=0)
    """How many tags a resource may have; 0 is no limit (the provider documents none)."""
    newest_first: bool = False
    """Lists of droplets begin with the newest, so that a droplet created during a walk shifts the rows."""
    locked_during_events: bool = False
    """`locked` follows the running action, as documented; since 2019 it does not (droplet_kit#218)."""
    several_registries: bool = True
    """An account may have several container registries; off: only the deprecated route for a single one is there."""
    link_base: str = ""
    """What the links between pages begin with, in place of the address that was asked."""

    rate_hour: int = Field(5000, ge=0)
    """Requests an hour and token; 0 is no limit."""
    rate_minute: int = Field(250, ge=0)
    """Requests a minute and token; 0 is no limit."""
    rate_hour_seconds: float = Field(3600, gt=0)
    """The length of the long window, in real seconds."""
    rate_minute_seconds: float = Field(60, gt=0)
    """The length of the short window, in real seconds."""
    reset_in_past: bool = True
    """`ratelimit-reset` is the time of the oldest counted request, as recorded; off: when it expires, as documented."""
    refused_tokens: tuple[str, ...] = ()
    """Tokens that answer 401 although they look right."""
    read_only_tokens: tuple[str, ...] = ()
    """Tokens that answer 403 to everything that is no GET."""
    journal_length: int = Field(20_000, ge=1)
    """How many of the last requests `/_control/requests` can show."""
