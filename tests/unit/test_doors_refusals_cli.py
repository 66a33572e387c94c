"""`waypost refusals`: what support sees of a door's refusals."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from support.clock import FakeClock
from waypost.cli.refusals import app, parse_since
from waypost.doors.refusals import RefusalLog, Refused
from waypost.errors import WaypostError
from waypost.layout import Layout


@pytest.fixture
def data(tmp_path: Path) -> Path:
    clock = FakeClock(1_700_000_000_000)
    for door in (0, 1):
        log = RefusalLog(Layout(tmp_path).refusals / f"door-{door}.db", 100, clock, lambda text: False)
        log.note(Refused("10.0.0.1", "wrong_token", b"GET", b"/postback?token=x&txn_id=%d" % door, body=b'{"a": "b"}'))
        clock.advance(60_000)
        log.note(
            Refused(
                "10.0.0.2", "bad_target", b"GET", b"/c/demo", "it did not render", advertiser="acme" if door else ""
            )
        )
        log.start()
        log.close()
    return tmp_path


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ([], ["bad_target", "bad_target", "wrong_token", "wrong_token"]),
        (["--code", "wrong_token"], ["wrong_token", "wrong_token"]),
        (["--address", "10.0.0.2"], ["bad_target", "bad_target"]),
        (["--address", "10.0.0.0/31"], ["wrong_token", "wrong_token"]),
        (["--address", "::ffff:10.0.0.2"], ["bad_target", "bad_target"]),
        (["--address", "2001:db8::/32"], []),
        (["--parameter", "txn_id"], ["wrong_token", "wrong_token"]),
        (["--parameter", "txn_id=1", "--parameter", "a=b"], ["wrong_token"]),
        (["--parameter", "txn_id=2"], []),
        (["--advertiser", "acme"], ["bad_target"]),
        (["--until", "2023-11-14T22:13:30"], ["wrong_token"]),
        (["--since", "2023-11-14T22:13:30", "--until", "2023-11-14T22:14:30"], ["bad_target", "wrong_token"]),
        (["--contains", "txn_id=1"], ["wrong_token"]),
        (["--contains", "did not"], ["bad_target", "bad_target"]),
        (["--since", "2023-11-14T22:14:30"], ["bad_target"]),
        (["--limit", "1"], ["bad_target"]),
        (["--since", "1s"], []),
    ],
)
def test_refusals_are_found(data: Path, options: list[str], codes: list[str]) -> None:
    result = CliRunner().invoke(app, ["--data", str(data), "--format", "json", *options])
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(entry["code"] for entry in found) == codes
    assert [entry["at_ms"] for entry in found] == sorted((entry["at_ms"] for entry in found), reverse=True)


def test_text_has_a_line_an_entry(data: Path) -> None:
    result = CliRunner().invoke(app, ["--data", str(data), "--code", "wrong_token", "--limit", "1"])
    line = "2023-11-14 22:14:20.000Z  door-1  10.0.0.1         wrong_token  GET /postback?token=***&txn_id=1  "
    assert result.stdout.strip() == line + repr('{"a": "b"}')


def test_an_entry_cannot_steer_the_terminal(tmp_path: Path) -> None:
    log = RefusalLog(Layout(tmp_path).refusals / "door-0.db", 10, FakeClock(1_700_000_000_000), lambda text: False)
    log.note(Refused("10.0.0.1", "malformed_request", b"", "/\x1b[2J\x9b31m\nforged line".encode()))
    log.start()
    log.close()
    shown = CliRunner().invoke(app, ["--data", str(tmp_path)]).stdout
    assert len(shown.splitlines()) == 1
    assert shown.rstrip("\n").isprintable()
    assert r"/\x1b[2J\x9b31m\nforged line" in shown


def test_what_the_bound_pushed_out_is_said(tmp_path: Path) -> None:
    for _ in range(3):  # each writes once, at its end
        log = RefusalLog(Layout(tmp_path).refusals / "door-0.db", 10, FakeClock(1_700_000_000_000), lambda text: False)
        for number in range(8):
            log.note(Refused("10.0.0.1", "wrong_token", b"GET", b"/postback?n=%d" % number))
        log.start()
        log.close()
    result = CliRunner().invoke(app, ["--data", str(tmp_path), "--format", "json"])
    assert len(result.stdout.splitlines()) == 10
    assert "14 older entries were dropped" in result.stderr


def test_an_address_that_is_none_is_wrong_usage(data: Path) -> None:
    assert CliRunner().invoke(app, ["--data", str(data), "--address", "acme.example"]).exit_code == 2


def test_a_folder_without_logs_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--data", str(tmp_path)])
    assert isinstance(result.exception, WaypostError)
    assert result.exception.code == "data_missing"


@pytest.mark.parametrize(
    ("text", "since_ms"),
    [("90s", 910_000), ("15m", 100_000), ("1970-01-01T00:01:00", 60_000), ("1970-01-01T01:00:00+01:00", 0)],
)
def test_since_takes_an_age_or_a_time(text: str, since_ms: int) -> None:
    assert parse_since(text, 1_000_000) == since_ms


@pytest.mark.parametrize("text", ["yesterday", "15", "-3m", "3w"])
def test_since_takes_nothing_else(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_since(text, 0)
