"""`waypost macro`: what it prints, and its exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from waypost.cli.macro import app

CORPUS = Path(__file__).parent.parent / "golden/corpus/traffic-sources.json"


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def test_render() -> None:
    result = run("render", "http://h/?a={sub1}&b={payout|round(2)}", "--set", "sub1=a b=c", "--set", "payout=1")
    assert (result.exit_code, result.stdout) == (0, "http://h/?a=a%20b%3Dc&b=1.00\n")


def test_render_at_another_position() -> None:
    result = run("render", "{sub1}", "--set", "sub1=a b", "--set", "sub2=x", "--position", "raw", "--format", "json")
    assert json.loads(result.stdout) == {"rendered": "a b", "names": ["sub1"], "unused": ["sub2"]}


def test_render_refuses_with_code_and_hint() -> None:
    result = run("render", "http://h/?a={externa_id}")
    assert result.exit_code == 1
    assert "column 13" in result.stderr and "did you mean {external_id}?" in result.stderr
    error = json.loads(run("render", "http://{sub1}/", "--format", "json").stdout)["error"]
    assert (error["code"], error["column"]) == ("macro_in_host", 8)


@pytest.mark.parametrize("pair", ["sub1", "=x"])
def test_a_value_without_a_name_is_a_usage_error(pair: str) -> None:
    assert run("render", "x", "--set", pair).exit_code == 2


def test_check_lines() -> None:
    result = run("check", "-", stdin="# ours\nhttp://h/?a={sub1}\n\nhttp://h/?a=REPLACE\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "ok       line 2: http://h/?a={sub1}"
    assert "warning  line 4" in result.stdout and "macro_placeholder" in result.stdout


def test_check_fails_if_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "templates.json"
    file.write_text(json.dumps(["http://h/?a={sub1}", "http://h/?a={nope!}"]))
    result = run("check", str(file), "--format", "json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [row["verdict"] for row in rows] == ["ok", "error"]
    assert rows[1]["problems"][0]["code"] == "macro_syntax"
    assert rows[1]["problems"][0]["column"] == 13


def test_check_warns_of_another_systems_macros() -> None:
    result = run("check", "-", stdin="http://h/?a=[clickid]&b={{payout}}\n")
    assert result.exit_code == 0
    assert result.stdout.count("macro_foreign") == 2


def test_import_a_published_collection() -> None:
    result = run("import", "--dialect", "keitaro", str(CORPUS), "--format", "json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert len(rows) == 68
    assert sum(row["translation"] is not None for row in rows) >= 60
    assert all(row["problems"] for row in rows if row["translation"] is None)


def test_import_lines_in_text() -> None:
    result = run("import", "--dialect", "keitaro", "-", stdin="http://h/?a={subid}\n")
    assert (result.exit_code, result.stdout) == (0, "ok       line 1: http://h/?a={click_id}\n")


def test_import_says_how_click_parameters_are_called() -> None:
    entry = {"name": "net", "postback": "http://h/?a={sub_id_1}", "click_parameters": {"sub_id_1": "[X]"}}
    result = run("import", "--dialect", "keitaro", "-", stdin=json.dumps([entry]))
    assert result.exit_code == 0
    assert "sub_id_1 → sub1" in result.stdout


def test_wrong_input_is_no_traceback(tmp_path: Path) -> None:
    assert run("import", "--dialect", "none", "-", stdin="x\n").exit_code == 2
    assert run("check", str(tmp_path / "absent")).exit_code == 2
    for text in ("[1]", "[{]", '[{"name": 3, "postback": "x"}]', "[null]"):
        result = run("check", "-", stdin=text)
        assert result.exit_code == 1 and "macro_syntax" in result.stderr, text
