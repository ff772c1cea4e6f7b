"""Settings, from the environment. What is not here is a constant beside its use."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Words = Annotated[list[str], NoDecode, BeforeValidator(_split)]
"""A list that the environment gives separated by commas."""


class Settings(BaseSettings):
    """All settings of all services. Each names its environment variable in upper case.

    Raises `pydantic.ValidationError` with the variable's name where a value is missing or makes no sense.
    """

    model_config = SettingsConfigDict(env_file=None, extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    database_url: SecretStr = Field(
        description="PostgreSQL, `postgresql://user:password@host:port/database?sslmode=...`. User and password are "
        "those of the administrator for `arcadia migrate`; services replace them by their own role's."
    )
    database_role_password: SecretStr | None = Field(
        default=None, description="The password of the services' roles. Default: the one in DATABASE_URL."
    )
    database_pool_size: int = Field(default=4, ge=2, le=20, description="Connections per service process, at most.")
    database_transaction_timeout_s: float = Field(
        default=300.0, gt=0, description="No transaction takes longer: a process that is frozen in one holds up others."
    )

    kafka_bootstrap_servers: Words = Field(min_length=1, description="`host:port`, separated by commas.")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca_file: str | None = Field(default=None, description="Certificates to trust. Default: the system's.")
    kafka_prefix: str = Field(
        default="",
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="Before the names of all topics and groups, so that several environments can share one cluster.",
    )
    kafka_session_timeout_s: float = Field(
        default=15, ge=6, le=60, description="After so long without a heartbeat a consumer's partitions go to another."
    )
    kafka_mock: bool = Field(
        default=False,
        description="The broker is librdkafka's mock: no transactions, no administration. To try things out.",
    )
    kafka_partitions: int = Field(default=4, ge=1, description="Per topic, when topics are created. Production: 12.")
    kafka_replication: int = Field(default=1, ge=1, description="Per topic, when topics are created. Production: 3.")

    dead_letter_limit: int = Field(
        default=100, ge=1, description="A consumer stops when so many messages failed within ten minutes, undecided."
    )

    do_api_url: str = Field(default="https://api.digitalocean.com", description="DigitalOcean, without `/v2`.")
    do_rate_limit: float = Field(
        default=1.0, ge=0, description="The share of the provider's rate limits that this process may use; 0: no limit."
    )

    finance_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("FINANCE_URL", "SKYAI_FINANCE_URL", "finance_url"),
        description="The finance service that invoices are pushed to; without one they are not.",
    )

    spaces_access_key_id: SecretStr | None = Field(
        default=None, description="A key for Spaces that may list buckets; without one their sizes stay unknown."
    )
    spaces_secret_access_key: SecretStr | None = Field(default=None, description="The secret of that key.")
    spaces_url: str = Field(
        default="https://{region}.digitaloceanspaces.com", description="Spaces; `{region}` stands for the region."
    )

    inventory_strike_minutes: float = Field(
        default=30.0, ge=0, description="A resource is struck again after so many minutes at the earliest."
    )

    provider_time_scale: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="The provider service's waits, and the leases of jobs at the provider, as a share of what they "
        "should be. Below 1 only at a stand-in: what the provider shows late would be made twice.",
    )

    provision_region: str = Field(default="syd1", description="Where a deployment is built that names no region.")
    provision_size: str = Field(default="s-1vcpu-1gb", description="The size of a new deployment's droplet.")
    provision_image: str = Field(default="ubuntu-24-04-x64", description="The image of a new deployment's droplet.")
    provision_domain: str | None = Field(
        default=None, description="The zone at the provider in which deployments get names; without one they get none."
    )

    jwt_secrets: list[SecretStr] = Field(
        default_factory=list,
        validation_alias=AliasChoices("JWT_SECRETS", "jwt_secrets"),
        description='Accepted signing secrets, newest first, as a JSON list: ["new", "old"].',
    )
    jwt_algorithms: Words = Field(default=["HS512"], description="Accepted algorithms; the token never chooses.")
    jwt_issuer: str = "arcadia_app"
    jwt_audience: str = "arcadia_app"
    jwt_keys_file: str | None = Field(default=None, description="A JWKS file, for RS256 and EdDSA.")

    gateway_host: str = "127.0.0.1"
    gateway_port: int = 4005
    cors_origins: Words = []
    rate_limit_per_minute: int = Field(default=1200, ge=0, description="Requests per tenant and gateway; 0: no limit.")

    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=0, ge=0, description="For /healthz, /readyz and /metrics; 0: any free port.")
    otel_endpoint: str | None = Field(
        default=None, description="An OTLP/HTTP collector; without one nothing is traced."
    )

    @field_validator("finance_url")
    @classmethod
    def _names_a_finance_service(cls, url: str | None) -> str | None:
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("should be like http://localhost:4010")
        return url

    @field_validator("database_url")
    @classmethod
    def _names_a_server(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname:
            raise ValueError("should be postgresql://user:password@host:port/database")
        return url

    def role_url(self, role: str) -> str:
        """DATABASE_URL as another role, with its password."""
        parts = urlsplit(self.database_url.get_secret_value())
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{quote(role)}:{quote(self.role_password, safe='')}@{host}"))

    @cached_property
    def role_password(self) -> str:
        """The password of the services' roles, in clear."""
        if self.database_role_password is not None:
            return self.database_role_password.get_secret_value()
        return urlsplit(self.database_url.get_secret_value()).password or ""
