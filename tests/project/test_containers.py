"""docker-compose.yml and the Dockerfile: complete, pinned, and in step with the code. (Docker itself is not needed.)"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import pytest
import yaml

from cli import services
from dev.stack.stand_in import STAND_INS
from dev.tokens import DEVELOPMENT_SECRET
from shared.config import Settings
from shared.digitalocean.tokens import FALLBACK, Purpose

COMPOSE: dict[str, Any] = yaml.safe_load(Path("docker-compose.yml").read_text())
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = Path("Dockerfile").read_text()
OURS = {name: container for name, container in CONTAINERS.items() if "arcadia-cloud" in container["image"]}
OF_SERVICES = {name: container for name, container in OURS.items() if container["command"][:1] == ["run"]}
_TOKENS = {FALLBACK, *(f"DO_{purpose.upper()}_TOKEN" for purpose in get_args(Purpose))}
_DEFAULT = re.compile(r"\$\{[A-Z_]+:?-(.*?)\}")


def by_default(value: object) -> str:
    """A value as it is where nothing is set in the environment."""
    return _DEFAULT.sub(lambda match: match[1], str(value))


def copied(stage: str) -> set[str]:
    """What a stage of the Dockerfile copies from the checkout."""
    body = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    (text,) = [part for part in body if part.splitlines()[0].endswith(f" AS {stage}")]
    return set(re.findall(r"^COPY ([^-]\S*) ", text, flags=re.MULTILINE))


def from_image() -> Iterator[tuple[str, str]]:
    """Every image that is named, with where."""
    for name, container in CONTAINERS.items():
        yield name, by_default(container["image"])
    for image in re.findall(r"^FROM (\S+:\S+)", DOCKERFILE, flags=re.MULTILINE):
        yield "Dockerfile", image


def test_every_service_has_a_container_and_no_other_does() -> None:
    assert {name: container["command"] for name, container in OF_SERVICES.items()} == {
        name: ["run", name] for name in services.names()
    }


def test_the_stand_ins_and_the_console_are_started_by_profile_only() -> None:
    profiles = {name: container.get("profiles") for name, container in CONTAINERS.items() if "profiles" in container}

    assert profiles == {**{name: ["stand-ins"] for name in STAND_INS}, "kafka-ui": ["ui"]}


def test_all_services_are_one_image() -> None:
    production = [container for name, container in OURS.items() if name not in STAND_INS]

    assert len({json.dumps([c["image"], c["build"]]) for c in production}) == 1
    assert {c["build"]["target"] for c in production} == {"production"}


@pytest.mark.parametrize(("where", "image"), list(from_image()))
def test_every_image_names_its_version(where: str, image: str) -> None:
    _, _, tag = image.partition(":")

    assert tag, where
    assert tag != "latest", where


def test_kafka_is_that_of_the_local_stack() -> None:
    pom = ElementTree.parse("dev/kafka/pom.xml")  # noqa: S314 - our own file
    version = pom.findtext(".//{*}kafka.version")

    assert CONTAINERS["kafka"]["image"] == f"apache/kafka:{version}"


def test_postgres_is_18() -> None:
    assert CONTAINERS["postgres"]["image"] == "postgres:18"
    # The image of 18 refuses to start on a volume at the old place, .../data.
    assert CONTAINERS["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_every_variable_is_a_setting() -> None:
    known = {name.upper() for name in Settings.model_fields} | _TOKENS

    for name, container in OURS.items():
        assert set(container.get("environment", {})) <= known, name


def test_the_image_sets_only_settings() -> None:
    (env,) = re.findall(r"^ENV ((?:.*\\\n)*.*)", DOCKERFILE, flags=re.MULTILINE)
    names = set(re.findall(r"([A-Z_]+)=", env)) - {"PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}

    assert names == {"GATEWAY_HOST", "HEALTH_HOST", "HEALTH_PORT"}
    assert names <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", OF_SERVICES)
def test_a_services_settings_make_sense_without_any_of_our_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OF_SERVICES[name]["environment"].items():
        if value is not None:  # passed on where it is set
            monkeypatch.setenv(variable, by_default(value))

    settings = Settings()

    assert settings.role_url("inventory") == "postgresql://inventory:development-services@postgres:5432/arcadia"


def test_only_migrate_knows_the_administrator() -> None:
    urls = {name: by_default(c["environment"]["DATABASE_URL"]) for name, c in OURS.items() if "environment" in c}
    password = by_default(CONTAINERS["postgres"]["environment"]["POSTGRES_PASSWORD"])

    assert [name for name, url in urls.items() if "@" in url] == ["migrate"]
    assert urls["migrate"] == f"postgresql://postgres:{password}@postgres:5432/arcadia"


def test_arcadia_token_mints_what_the_gateway_accepts_in_development() -> None:
    secrets = by_default(CONTAINERS["gateway"]["environment"]["JWT_SECRETS"])

    assert json.loads(secrets) == [DEVELOPMENT_SECRET]


def test_services_wait_for_servers_and_migrations() -> None:
    servers = {"postgres": {"condition": "service_healthy"}, "kafka": {"condition": "service_healthy"}}
    for name, container in OF_SERVICES.items():
        before = "seed-catalog" if name == "deployments" else "migrate"
        assert container["depends_on"] == servers | {before: {"condition": "service_completed_successfully"}}, name
    assert CONTAINERS["seed-catalog"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert all("test" in CONTAINERS[name]["healthcheck"] for name in ("postgres", "kafka", *OF_SERVICES, *STAND_INS))


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for container in CONTAINERS.values() for port in container.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_secret_can_be_set_from_outside() -> None:
    for name, container in CONTAINERS.items():
        for variable, value in container.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN", variable):
                assert value is None or str(value).startswith("${"), f"{name}: {variable}"


def test_the_image_holds_the_product_and_nothing_else() -> None:
    assert copied("packages") == {"requirements.lock"}
    assert copied("production") == {"contracts", "shared", "services", "cli"}
    assert copied("development") == {"dev"}
    assert DOCKERFILE.rstrip().splitlines()[-1] == "FROM production"
    sent = set(re.findall(r"^!(\S+)", Path(".dockerignore").read_text(), flags=re.MULTILINE))
    assert sent == copied("packages") | copied("production") | copied("development")


def test_the_image_installs_by_hash_and_runs_as_nobody_special() -> None:
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    assert re.search(r"^USER \d+$", DOCKERFILE, flags=re.MULTILINE)
    assert "HEALTHCHECK" in DOCKERFILE
