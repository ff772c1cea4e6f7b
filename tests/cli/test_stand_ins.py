"""What `arcadia up` starts, and what it forgets so that no stand-in and nothing real meet."""

from __future__ import annotations

import os

import pytest

from cli import running, settings
from dev.stack.stand_in import STAND_INS

REAL = {
    "DATABASE_URL": "postgresql://db.example/arcadia",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
    "DO_API_URL": "https://api.digitalocean.com",
    "DO_API_TOKEN": "a real one",
    "FINANCE_URL": "https://finance.example",
}
STOOD_IN_FOR = [kind.setting for kind in STAND_INS.values()]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (REAL | {"SKYAI_FINANCE_URL": ""}).items():
        monkeypatch.setenv(name, value)


def test_nothing_is_started_where_everything_is_named() -> None:
    assert running.missing(STOOD_IN_FOR) == []
    assert {name: os.environ[name] for name in REAL} == REAL


def test_nobody_stands_in_for_finance_beside_a_real_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINANCE_URL")

    assert running.missing(STOOD_IN_FOR) == []
    assert os.environ["DO_API_TOKEN"] == REAL["DO_API_TOKEN"]


def test_a_finance_service_may_be_named_by_the_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINANCE_URL")
    monkeypatch.setenv("SKYAI_FINANCE_URL", REAL["FINANCE_URL"])

    assert running.missing(STOOD_IN_FOR) == []


@pytest.mark.parametrize("name", ["FINANCE_URL", "SKYAI_FINANCE_URL"])
def test_a_stand_in_for_the_provider_brings_one_for_finance_and_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DO_API_URL")
    monkeypatch.delenv("FINANCE_URL")
    monkeypatch.setenv(name, REAL["FINANCE_URL"])

    assert running.missing(STOOD_IN_FOR) == ["DO_API_URL", "FINANCE_URL"]
    assert os.environ["DO_API_TOKEN"] == "dop_v1_stand_in"
    assert not {"FINANCE_URL", "SKYAI_FINANCE_URL"} & os.environ.keys()
    assert "FINANCE_URL is set aside" in capfd.readouterr().err


def test_a_command_at_the_local_stack_uses_its_finance_stand_in(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    local = dict.fromkeys(REAL.keys() - {"DO_API_TOKEN"}, "127.0.0.1:1")
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "DO_API_URL"):
        monkeypatch.delenv(name)

    settings.use(local)

    assert {name: os.environ[name] for name in local} == local
    assert "FINANCE_URL is set aside" in capfd.readouterr().err
