"""The command line's frame: help, version, errors as lines, and nothing heavy before it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from waypost import __version__
from waypost.catalog.problems import CatalogError, CatalogErrors
from waypost.cli.main import app, main, show_error
from waypost.errors import WaypostError

HEAVY = ("duckdb", "litestar", "uvicorn", "pycurl", "uvloop", "cryptography", "rich.live", "structlog")
LATER = ("report", "reconcile", "erase", "bench")


def test_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"waypost {__version__}\n")


def test_help_names_what_there_is_and_nothing_that_is_not() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    names = [
        words[1] for line in result.stdout.splitlines() if len(words := line.split()) > 1 and line.startswith("│ ")
    ]
    expected = {"run", "demo", "door", "pipeline", "courier", "archivist", "console"}
    assert expected | {"catalog", "macro", "test", "trace", "audit", "refusals", "resend"} <= set(names)
    assert not set(LATER) & set(names)


def test_nothing_heavy_is_imported_before_a_command_runs() -> None:
    code = f"import sys, waypost.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_error_is_one_line_with_place_code_and_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["waypost", "trace", "--data", str(tmp_path / "nothing"), "r0"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        f"waypost: {tmp_path / 'nothing'}: the data folder is not there or is empty [data_missing] (check --data)\n"
    )


def test_several_errors_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [
        CatalogError("catalog_unknown_key", "what is this", place="a.yaml:1"),
        CatalogError("catalog_missing_key", "where is that", place="a.yaml:2", hint="here"),
    ]
    show_error(CatalogErrors(problems))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("waypost: a.yaml:1: what is this [catalog_unknown_key] (")
    assert second == "waypost: a.yaml:2: where is that [catalog_missing_key] (here)"


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["frobnicate"]).exit_code == 2


@pytest.mark.parametrize("words", [["run"], ["door"], ["trace", "x"], ["test", "click", "demo"]])
def test_the_data_folder_must_be_named(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["run", "--data", str(tmp_path / "file" / "data")])
    assert isinstance(result.exception, WaypostError)
    assert result.exception.code == "data_unwritable"
