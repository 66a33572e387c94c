"""`waypost catalog`: what is printed, in text and JSON, and the exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.catalog_text import CATALOGS, DESIGN
from waypost.cli.catalog import app
from waypost.engines.sqlite.catalog import SqliteCatalogStore

runner = CliRunner()


def run(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(DESIGN, "utf-8")
    return path


def test_check_of_a_right_catalog(file: Path) -> None:
    code, out, err = run("check", file)
    assert (code, out, err) == (0, f"{file} is right: 1 advertiser, 1 offer, 1 partner, 1 link, 1 route\n", "")
    code, out, _ = run("check", file, "--format", "json")
    assert code == 0 and json.loads(out)["counts"]["routes"] == 1


def test_check_of_a_broken_catalog_prints_every_error_with_a_place_to_open() -> None:
    path = CATALOGS / "broken.yaml"
    code, out, err = run("check", path)
    expected = (CATALOGS / "broken.txt").read_text("utf-8").splitlines()
    assert (code, out) == (1, "")
    assert err.splitlines() == [f"{CATALOGS}/{line}" for line in expected] + [f"{len(expected)} errors"]


def test_errors_as_json(file: Path) -> None:
    file.write_text(DESIGN.replace("partner: geozo", "partner: geoz"), "utf-8")
    code, out, err = run("check", file, "--format", "json")
    assert (code, err) == (1, "")
    answer = json.loads(out)
    assert answer == {
        "ok": False,
        "more": 0,
        "errors": [
            {
                "code": "catalog_unknown_name",
                "place": f"{file}:20",
                "file": str(file),
                "line": 20,
                "field": "links.demo.partner",
                "value": "geoz",
                "detail": "there is no partner `geoz`",
                "hint": "did you mean `geozo`?",
            }
        ],
    }


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, _, err = run("check", tmp_path / "none.yaml")
    assert code == 1 and "[catalog_not_found]" in err and "Traceback" not in err


def test_secrets_are_read_unless_told_otherwise(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_TOKEN", raising=False)
    file.write_text(DESIGN.replace("token: s3cret", "token: env:ACME_TOKEN"), "utf-8")
    code, _, err = run("check", file)
    assert code == 1 and "[catalog_secret] (set ACME_TOKEN)" in err
    assert run("check", file, "--skip-secrets")[0] == 0


def test_diff_and_apply(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    code, out, _ = run("diff", "--data", data, file)
    assert code == 0 and out.splitlines()[-1] == "against no catalog in force yet: 4 added"
    assert not data.exists()
    code, out, _ = run("apply", "--data", data, file)
    assert (code, out.partition(":")[0]) == (0, "catalog version 1 is in force")
    code, out, _ = run("apply", "--data", data, file, "--format", "json")
    assert code == 0 and json.loads(out)["changed"] is False
    assert run("diff", "--data", data, file)[1] == "no difference to catalog version 1\n"
    file.write_text(DESIGN.replace("1.20 USD", "1.30 USD"), "utf-8")
    code, out, _ = run("diff", "--data", data, file)
    assert out.splitlines() == [
        "money",
        "  offer acme-vpn: payout of goal install: 1.20 USD → 1.30 USD",
        "against catalog version 1: 1 changed",
    ]
    code, out, _ = run("diff", "--data", data, file, "--format", "json")
    (change,) = json.loads(out)["changes"]
    assert (change["kind"], change["name"], change["fields"][0]["after"]) == ("offer", "acme-vpn", "1.30 USD")
    assert json.loads(out)["topics"] == {"money": ["offer acme-vpn: payout of goal install: 1.20 USD → 1.30 USD"]}


def test_a_broken_catalog_is_not_applied(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    run("apply", "--data", data, file)
    file.write_text(DESIGN.replace("partner: geozo", "partner: geoz"), "utf-8")
    code, _, err = run("apply", "--data", data, file)
    assert code == 1 and "[catalog_unknown_name]" in err
    assert SqliteCatalogStore(data / "catalog", cache_items_max=2).versions() == [1]
