"""`explain/values.py` and `waypost macro render --id`: the values of a recorded conversion."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.explain_world import World, some_of_everything
from waypost.cli.macro import app
from waypost.explain.trace import trace
from waypost.explain.values import recorded_values
from waypost.macros.names import is_personal


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[World, dict[str, str]]]:
    world = World(tmp_path)
    ids = some_of_everything(world)
    yield world, ids
    world.close()


def test_a_conversion_has_what_its_click_its_decision_and_its_postback_say(told: tuple[World, dict[str, str]]) -> None:
    world, _ = told
    click = world.click("abc&x=1&email=a@b.c")
    receipt = world.call(f"click_id={click}&goal=install&token=s3cret&txn_id=T9")
    world.work(archive=False)
    sources = world.sources()
    try:
        values, origins = recorded_values(trace(receipt, sources, partner=""))
    finally:
        sources.close()
    assert (values["click_id"], values["goal"], values["status"]) == (click, "install", "approved")
    assert (values["payout"], values["currency"], values["txn_id"]) == ("1.20", "USD", "T9")
    assert values["conversion_id"] == "c" + receipt[1:] and values["postback_id"].startswith("p" + receipt[1:])
    assert (origins["click_id"], origins["goal"]) == ("click", "decision")
    assert origins["payout"] == values["postback_id"]
    assert not any(is_personal(name) for name in values)


def test_render_for_a_recorded_id(
    told: tuple[World, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = told
    monkeypatch.setattr("waypost.assembly.open_explain_sources", lambda data, settings: world.sources())
    receipt = world.call(f"click_id={world.click('abc42')}&goal=install&token=s3cret")
    world.work(archive=False)
    conversion = "c" + receipt[1:]
    template = "http://h.com/?a={sub1}&m={payout}&c={conversion_id}&k={keyword}"
    arguments = ["render", template, "--data", str(tmp_path), "--id", conversion]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"http://h.com/?a=abc42&m=1.20&c={conversion}&k="
    assert "keyword        no value" in result.stdout
    again = CliRunner().invoke(app, [*arguments, "--set", "keyword=red", "--format", "json"])
    answer = json.loads(again.stdout)
    assert answer["rendered"].endswith("&k=red")
    assert {row["name"]: row["from"] for row in answer["macros"]}["keyword"] == "set"


def test_an_unknown_id_is_said(
    told: tuple[World, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.assembly.open_explain_sources", lambda data, settings: told[0].sources())
    result = CliRunner().invoke(app, ["render", "x", "--data", str(tmp_path), "--id", "c0000000000000001"])
    assert result.exit_code == 1 and "not_found" in str(result.exception)
