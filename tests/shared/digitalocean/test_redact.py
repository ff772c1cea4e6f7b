"""No secret of the provider's is kept: shapes as DigitalOcean sends them, with planted secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.digitalocean import redact, redact_text
from shared.digitalocean.redact import REDACTED

PLANTED = "hunter2-planted"

DATABASE: dict[str, Any] = {
    "id": "9cc10173-e9ea-4176-9dbc-a4cee4c4ff30",
    "engine": "pg",
    "connection": {
        "uri": f"postgresql://doadmin:{PLANTED}@db.example:25060/defaultdb?sslmode=require",
        "host": "db.example",
        "user": "doadmin",
        "password": PLANTED,
        "ssl": True,
    },
    "standby_connection": {"uri": f"postgresql://doadmin:{PLANTED}@replica.example:25060/defaultdb"},
    "users": [
        {"name": "doadmin", "role": "primary", "password": PLANTED},
        {"name": "app", "role": "normal", "password": PLANTED, "access_cert": PLANTED, "access_key": PLANTED},
    ],
    "tags": ["production"],
}
APP: dict[str, Any] = {
    "id": "a-1",
    "spec": {
        "name": "web",
        "envs": [{"key": "DATABASE_URL", "value": PLANTED, "scope": "RUN_TIME", "type": "GENERAL"}],
        "services": [
            {
                "name": "api",
                "envs": [{"key": "SECRET", "value": PLANTED}, {"key": "EMPTY", "value": ""}],
                "image": {"registry_credentials": f"user:{PLANTED}"},
                "log_destinations": [{"datadog": {"endpoint": "https://x", "api_key": PLANTED}}],
            }
        ],
    },
}
SPACES_KEY = {"name": "backup", "grants": [], "access_key": PLANTED, "secret_key": PLANTED}
CLUSTER = {
    "kubeconfig": f"apiVersion: v1\ntoken: {PLANTED}",
    "client_key_data": PLANTED,
    "clientKeyData": PLANTED,
    "certificate-authority-data": PLANTED,
}
DROPLET_REQUEST = {"name": "web-1", "user_data": f"#cloud-config\n{PLANTED}", "size": "s-1vcpu-1gb"}
CERTIFICATE = {"private_key": f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\n-----END PRIVATE KEY-----"}


@pytest.mark.parametrize("thing", [DATABASE, APP, SPACES_KEY, CLUSTER, DROPLET_REQUEST, CERTIFICATE])
def test_no_planted_secret_is_left(thing: dict[str, Any]) -> None:
    assert PLANTED in json.dumps(thing)
    assert PLANTED not in json.dumps(redact([{"deep": [thing]}]))


def test_what_is_no_secret_stays() -> None:
    redacted = redact(DATABASE)
    assert redacted["connection"]["uri"] == f"postgresql://{REDACTED}@db.example:25060/defaultdb?sslmode=require"
    assert (redacted["connection"]["host"], redacted["connection"]["ssl"]) == ("db.example", True)
    assert [user["name"] for user in redacted["users"]] == ["doadmin", "app"]
    assert (redacted["id"], redacted["engine"], redacted["tags"]) == (DATABASE["id"], "pg", ["production"])
    assert redact(APP)["spec"]["envs"][0] == {**APP["spec"]["envs"][0], "value": REDACTED}


def test_a_droplet_comes_through_unchanged() -> None:
    droplet = {
        "id": 1,
        "name": "token-server",
        "networks": {"v4": [{"ip_address": "10.0.0.2", "gateway": "<nil>"}]},
        "next_backup_window": None,
        "tags": ["k8s:worker", "secret-service"],
        "links": {"self": "https://api.digitalocean.com/v2/droplets/1"},
    }
    assert redact(droplet) == droplet


def test_the_original_is_left_alone() -> None:
    original = {"password": "p", "users": [{"password": "p"}]}
    redact(original)
    assert original == {"password": "p", "users": [{"password": "p"}]}


@pytest.mark.parametrize("empty", [None, "", [], {}, False, True])
def test_the_absence_of_a_secret_can_be_seen(empty: object) -> None:
    assert redact({"password": empty}) == {"password": empty}


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"redis://default:{PLANTED}@r:1", f"redis://{REDACTED}@r:1"),
        (f"rediss://:{PLANTED}@r:1", f"rediss://{REDACTED}@r:1"),
        (f"two postgres://a:{PLANTED}@h/x and mysql://b:{PLANTED}@h", f"two postgres://{REDACTED}@h/x and mysql://{REDACTED}@h"),
        ("Authorization: Bearer dop_v1_0123abc", f"Authorization: Bearer {REDACTED}"),
        ("dor_v1_0123abc was revoked", f"{REDACTED} was revoked"),
        ("https://example.com:8080/a@b", "https://example.com:8080/a@b"),
        (f"https://{PLANTED}@github.example/acme/app.git", f"https://{REDACTED}@github.example/acme/app.git"),
        (f"see https://{PLANTED}@h and https://h/a@b", f"see https://{REDACTED}@h and https://h/a@b"),
        ("user@example.com", "user@example.com"),
    ],
)  # fmt: skip
def test_secrets_inside_texts_are_taken_out(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted


def test_a_password_with_an_at_sign_is_taken_out_whole() -> None:
    assert PLANTED not in redact_text(f"postgres://u:a@{PLANTED}@host/db")


@pytest.mark.parametrize(
    "key",
    ["password", "db_password", "apiToken", "API-Key", "refresh_tokens", "dbpassword", "secret_hash", "user_data"],
)
def test_a_key_that_sounds_like_a_secret_is_one(key: str) -> None:
    assert redact({key: {"anything": [1]}}) == {key: REDACTED}


@pytest.mark.parametrize("key", ["key", "ssh_keys", "size_slug", "secretary", "tokenizer", "public_key"])
def test_a_key_that_does_not_is_none(key: str) -> None:
    assert redact({key: "value"}) == {key: "value"}
