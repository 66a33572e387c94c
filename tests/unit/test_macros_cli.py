"""`waypost macro`: what it prints, and its exit codes."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from waypost.cli.macro import app
from waypost.cli.macro_input import read_entries
from waypost.cli.macro_render import SAMPLE
from waypost.macros.names import CLICK_FIELD, MACROS, Where

CORPUS = Path(__file__).parent.parent / "golden/corpus"


def run(*arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def rows(result: Result) -> list[dict[str, Any]]:
    return json.loads(result.stdout)  # type: ignore[no-any-return]


# --- render -----------------------------------------------------------------------------------------------


def test_render() -> None:
    result = run("render", "http://h/?a={sub1}&b={payout|round(2)}", "--set", "sub1=a b=c", "--set", "payout=1")
    assert (result.exit_code, result.stdout) == (0, "http://h/?a=a%20b%3Dc&b=1.00\n")


def test_render_at_another_position() -> None:
    result = run("render", "{sub1}", "--set", "sub1=a b", "--set", "sub2=x", "--position", "raw", "--format", "json")
    assert json.loads(result.stdout) == {
        "rendered": "a b",
        "names": ["sub1"],
        "unused": ["sub2"],
        "macros": [{"name": "sub1", "value": "a b", "from": "set"}],
    }


def test_render_a_sample_shows_each_macro() -> None:
    result = run("render", "http://h/?a={sub1}&b={payout}&c={click.x}", "--sample", "--set", "payout=9")
    assert result.stdout.splitlines() == [
        "http://h/?a=sub-1&b=9&c=",
        "  sub1     sample                sub-1",
        "  payout   set                   9",
        "  click.x  no value",
    ]


def test_the_sample_has_every_macro_of_a_postback() -> None:
    wanted = {name for name, row in MACROS.items() if row.where & {Where.POSTBACK, Where.ATTEMPT}}
    may_be_empty = {"code", "returning", "bot", CLICK_FIELD.name}
    assert wanted - SAMPLE.keys() <= may_be_empty
    assert set(SAMPLE) <= set(MACROS)


def test_render_refuses_with_code_and_hint() -> None:
    result = run("render", "http://h/?a={externa_id}")
    assert result.exit_code == 1
    assert "column 13" in result.stderr and "did you mean {external_id}?" in result.stderr
    error = json.loads(run("render", "http://{sub1}/", "--format", "json").stdout)["error"]
    assert (error["code"], error["column"]) == ("macro_in_host", 8)


@pytest.mark.parametrize("pair", ["sub1", "=x"])
def test_a_value_without_a_name_is_a_usage_error(pair: str) -> None:
    assert run("render", "x", "--set", pair).exit_code == 2


def test_an_id_needs_a_data_folder(tmp_path: Path) -> None:
    assert run("render", "x", "--id", "c1").exit_code == 2
    assert run("render", "x", "--data", str(tmp_path)).exit_code == 2


# --- check ------------------------------------------------------------------------------------------------


def test_check_lines() -> None:
    result = run("check", "-", stdin="# ours\nhttp://h/?a={sub1}\n\nhttp://h/?a=REPLACE&b={sub1}\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "ok       line 2: http://h/?a={sub1}"
    assert "warning  line 4" in result.stdout and "[macro_placeholder]" in result.stdout


def test_check_answers_each_item_of_a_list_in_its_order() -> None:
    items = ["http://h/?a={sub1}", "", "http://h/?a={externa_id}", 7, None, {"name": "n", "postback": "http://h/{sub1}"},
             {"name": "e", "postback": "", "click_parameters": {"a": "[A]"}}, {}]  # fmt: skip
    result = run("check", "-", "--format", "json", stdin=json.dumps(items))
    assert result.exit_code == 1
    found = [(row["template"], row["result"], row["code"], row["column"]) for row in rows(result)]
    assert found == [
        ("http://h/?a={sub1}", "ok", "", 0),
        ("", "error", "macro_not_url", 0),
        ("http://h/?a={externa_id}", "error", "macro_unknown", 13),
        ("7", "error", "macro_syntax", 0),
        ("null", "error", "macro_syntax", 0),
        ("http://h/{sub1}", "ok", "", 0),
        ("", "ok", "", 0),
        ("", "error", "macro_not_url", 0),
    ]
    assert rows(result)[2]["message"].endswith("did you mean {external_id}?")
    assert {"name", "template", "result", "code", "column", "message", "dialect", "kind", "problems"} <= set(
        rows(result)[0]
    )


def test_check_says_the_list_s_language() -> None:
    texts = ["http://h/?a={external_id}", "http://h/?a={subid}", "http://h/?a={sub_id_3}&s={status: sale=1}"]
    assert [row["dialect"] for row in rows(run("check", "-", "--format", "json", stdin=json.dumps(texts)))] == [
        "keitaro"
    ] * 3
    one = run("check", "-", "--format", "json", stdin=json.dumps(texts[:1]))
    assert [row["dialect"] for row in rows(one)] == ["waypost"]


def test_check_in_our_own_language_is_strict() -> None:
    result = run("check", "-", "--dialect", "waypost", "--format", "json", stdin="http://h/?a={subid}\n")
    assert result.exit_code == 1 and rows(result)[0]["code"] == "macro_unknown"


def test_check_an_empty_list_and_an_empty_file() -> None:
    for stdin in ("[]", "", "\n\n"):
        result = run("check", "-", "--format", "json", stdin=stdin)
        assert (result.exit_code, rows(result)) == (0, [])


def test_broken_utf_8_has_a_code_and_a_column() -> None:
    result = run("check", "-", "--format", "json", stdin=b"http://h/?a=\xff{sub1}\nhttp://h/?a={sub1}\n")
    assert result.exit_code == 1
    assert [(row["result"], row["code"], row["column"]) for row in rows(result)] == [
        ("error", "macro_bytes", 13),
        ("ok", "", 0),
    ]
    listed = run("check", "-", stdin=b'["http://h/?a=\xff"]')
    assert listed.exit_code == 1 and "[macro_bytes]" in listed.stdout
    assert "macro_bytes" in run("import", "-", stdin=b"\xff\xfe").stdout


def test_a_byte_order_mark_and_windows_lines_are_no_part_of_a_template() -> None:
    result = run("check", "-", stdin=b"\xef\xbb\xbfhttp://h/?a={sub1}\r\n")
    assert (result.exit_code, result.stdout) == (0, "ok       line 1: http://h/?a={sub1}\n")


def test_lines_are_read_one_after_the_other(tmp_path: Path) -> None:
    """A hundred thousand lines, 6 MB, in a small part of that."""
    file = tmp_path / "templates.txt"
    file.write_text("https://h.com/postback?click={external_id}&payout={payout}\n" * 100_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_entries(str(file))) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_line_of_megabytes_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    file = tmp_path / "templates.txt"
    file.write_text("x" * 3_000_000 + "\nhttp://h/?a={sub1}\n")
    result = run("check", str(file), "--format", "json")
    assert [(row["result"], row["code"]) for row in rows(result)] == [("error", "macro_too_large"), ("ok", "")]


def test_a_line_that_begins_with_a_bracket_is_no_list() -> None:
    result = run("check", "-", "--format", "json", stdin="[CLICK_ID]\n")
    assert [row["code"] for row in rows(result)] == ["macro_not_url"]


# --- import and export ------------------------------------------------------------------------------------


def test_import_a_published_collection() -> None:
    result = run("import", str(CORPUS / "traffic-sources.json"), "--format", "json")
    assert result.exit_code == 1
    found = rows(result)
    assert len(found) == 101
    assert sum(row["translation"] is not None for row in found) == 66
    assert [row["name"] for row in found if row["result"] == "error"] == ["adset.tools", "mobivion.com"]
    assert all(row["dialect"] == "keitaro" for row in found)


def test_import_the_networks() -> None:
    result = run("import", str(CORPUS / "affiliate-networks.json"), "--format", "json")
    first = rows(result)[0]
    assert (len(rows(result)), first["kind"], first["dialect"]) == (190, "call", "##x##")
    assert first["offer_parameters"] == "&click_id={click_id}"
    refused = [row for row in rows(result) if row["result"] == "error"]
    assert [row["name"] for row in refused] == ["leaddealer.net"]
    assert refused[0]["problems"][-1]["detail"].startswith("in the offer's parameters, column 10: {sub_id} is neither")
    assert first["translation"].startswith(
        "http://{domain}/postback?token={postback_key}&click_id=##CLICK_ID##&txn_id="
    )


def test_import_a_text_and_guess() -> None:
    result = run("import", "http://h/?a={subid}&b={status}")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok       template: http://h/?a={click_id}&b={status|map(pending=lead, approved=sale, declined=rejected, "
        "hold=lead)}",
        "    sure: only keitaro has all of {subid}, {status}",
    ]


def test_import_keeps_what_it_cannot_translate() -> None:
    result = run("import", "http://h/?a={subid}&b={profit}", "--format", "json")
    assert result.exit_code == 1
    row = rows(result)[0]
    assert (row["translation"], row["draft"]) == (None, "http://h/?a={click_id}&b={{profit}}")
    assert row["problems"][0]["detail"].startswith("{profit} has no counterpart: Waypost computes no profit")


def test_import_says_the_click_url() -> None:
    entry = {"name": "net", "postback": "http://h/?a={sub_id_1}", "click_parameters": {"sub_id_1": "[X]"}}
    result = run("import", "--dialect", "keitaro", "-", stdin=json.dumps([entry]))
    assert result.exit_code == 0
    assert "/c/LINK?sub1=[X]" in result.stdout


def test_export_and_back() -> None:
    ours = "http://h/?a={click_id}&b={sub3}&s={status|map(pending=1, approved=2, declined=3, hold=1)}"
    result = run("export", "--dialect", "keitaro", ours)
    assert result.stdout == "ok       template: http://h/?a={subid}&b={sub_id_3}&s={status:lead=1 sale=2 rejected=3}\n"
    refused = run("export", "--dialect", "cake", "http://h/?a={country}", "--format", "json")
    assert refused.exit_code == 1 and rows(refused)[0]["problems"][0]["code"] == "macro_unknown"


def test_export_a_network_s_url() -> None:
    ours = "http://{domain}/postback?token={postback_key}&click_id=#s2#&payout=#price#"
    result = run("export", "--dialect", "keitaro", ours)
    assert result.stdout.endswith("http://{domain}/{postback_key}/postback?subid=#s2#&payout=#price#\n")


def test_wrong_input_is_no_traceback(tmp_path: Path) -> None:
    assert run("import", "--dialect", "none", "-", stdin="x\n").exit_code == 2
    assert run("check", str(tmp_path / "absent")).exit_code == 2
    assert run("import", str(tmp_path / "absent")).exit_code == 2
    assert run("export", "--dialect", "waypost", "x={sub1}").exit_code == 2
    result = run("check", "-", stdin="[{]")
    assert result.exit_code == 1 and "macro_syntax" in result.stderr
    for text in ("[1]", '[{"name": 3, "postback": "x"}]', "[null]", '[{"postback": "x", "click_parameters": [1]}]'):
        result = run("check", "-", stdin=text)
        assert result.exit_code == 1 and "macro_syntax" in result.stdout, text


def test_a_difference_of_a_translation_is_a_warning_of_the_import_only() -> None:
    text = "http://h/?a={subid}&b={campaign_id}"
    assert rows(run("check", "-", "--format", "json", stdin=text))[0]["result"] == "ok"
    assert rows(run("import", text, "--format", "json"))[0]["problems"][0]["code"] == "macro_adapted"
