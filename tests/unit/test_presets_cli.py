"""`waypost catalog preset`: what is listed and shown, and entries that are added to files without touching the rest."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from support.presets import PRESETS, SENDERS, catalog_of
from waypost.catalog.additions import Entry, with_entry
from waypost.catalog.compile import compile_catalog
from waypost.cli.main import app
from waypost.errors import WaypostError
from waypost.settings import load_settings

CATALOG = """# my catalog
waypost: 1
advertisers:
  acme: {token: s3cret}    # them
offers:
  shop:
    advertiser: acme
    url: http://127.0.0.1:9/land?c={click_id}
    goals: {purchase: {payout: 1.20 USD}}
partners:
    geozo:   # four blanks
        postbacks:
          - get: http://127.0.0.1:9/pb?c={sub1}
        # a comment of geozo's

# links from here
links:
  demo: {partner: geozo, offer: shop}
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["catalog", "preset", *words])


def said(*words: str, exit_code: int = 0) -> object:
    done = run(*words, "--format", "json")
    assert done.exit_code == exit_code, done.output
    return json.loads(done.output)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG, "utf-8")
    return path


def test_list_finds_by_kind_and_text() -> None:
    everything = said("list")
    assert isinstance(everything, list) and {row["name"] for row in everything} == set(PRESETS)
    assert "6 presets" in run("list", "PUSH").output
    assert [row["name"] for row in said("list", "push", "--kind", "traffic_source")] == [  # type: ignore[attr-defined]
        "datspush", "megapush", "push-house", "pushads-biz", "realpush", "richads-push",
    ]  # fmt: skip
    assert "did you mean `tracker`?" in run("list", "--kind", "trackers").output


@pytest.mark.parametrize("name", PRESETS)
def test_show_says_both_urls_and_what_to_fill_in(name: str) -> None:
    preset = PRESETS[name]
    text = run("show", name, "--base", "https://t.example").output
    for parameter in preset.parameters.values():
        assert f"  {parameter.name}: {parameter.meaning}" in text
    for ours, theirs in preset.click.items():
        assert f"{ours}={theirs}" in text
    if preset.call:
        assert f"https://t.example/postback?token=TOKEN&{preset.call}" in text and f"  {preset.offer}" in text
    assert f"waypost catalog preset add {name} --catalog PATH" in text
    shown = said("show", name)
    assert isinstance(shown, dict) and shown["section"] in ("partners", "advertisers") and shown["example"]


def test_an_added_entry_is_all_that_changes(file: Path) -> None:
    file.chmod(0o640)
    answer = said("add", "rollerads", "--catalog", str(file), "--with", "account=77", "--offer", "shop")
    assert isinstance(answer, dict)
    assert answer["environment"] == ["ROLLERADS_TRACKING_KEY"] and answer["written"]
    assert answer["click_url"].startswith("https://YOUR-DOMAIN/c/rollerads?external_id={clickid}&")
    partner = (
        "    rollerads:\n      preset: rollerads\n      with:\n"
        "        tracking_key: env:ROLLERADS_TRACKING_KEY\n        account: 77\n"
    )
    link = "  rollerads:\n    partner: rollerads\n    offer: shop\n"
    assert file.read_text("utf-8") == CATALOG.replace("\n\n# links", f"\n{partner}\n# links") + link
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_a_dry_run_writes_nothing_and_shows_the_entry(file: Path) -> None:
    done = run("add", "admitad", "--catalog", str(file), "--as", "adm", "--dry-run")
    assert "would be added to" in done.output and "    token: env:ADM_TOKEN\n" in done.output
    assert file.read_text("utf-8") == CATALOG


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["mondiad"], "asks for `uid`"),
        (["mondiad", "--with", "uid=a b"], "such as `104233`"),
        (["mondiad", "--with", "uid=1", "--with", "uide=2"], "did you mean `uid`?"),
        (["rollerads", "--with", "account=1", "--with", "tracking_key=hunter2"], "takes a reference"),
        (["admitad", "--with", "token=hunter2"], "takes a reference"),
        (["adx1", "--as", "geozo"], "given twice"),
        (["adx1", "--as", "a/b"], "cannot be a name"),
        (["adx1", "--offer", "shopp"], "did you mean `shop`?"),
        (["nosuch"], "there is no preset `nosuch`"),
    ],
)
def test_what_would_be_wrong_is_said_and_not_written(file: Path, words: list[str], problem: str) -> None:
    done = run("add", *words, "--catalog", str(file))
    assert done.exit_code == 1 and problem in done.output and "hunter2" not in done.output
    assert file.read_text("utf-8") == CATALOG


def test_wrong_usage_is_exit_2(file: Path) -> None:
    assert run("add", "mondiad", "--catalog", str(file), "--with", "uid").exit_code == 2
    assert run("add", "kma", "--catalog", str(file), "--offer", "shop").exit_code == 2


def test_a_catalog_that_is_wrong_or_not_there_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    assert "catalog_not_found" in run("add", "adx1", "--catalog", str(file)).output
    file.write_text("waypost: 1\npartner: {}\n", "utf-8")
    done = run("add", "adx1", "--catalog", str(file))
    assert done.exit_code == 1 and "did you mean `partners`?" in done.output


def test_a_folder_gets_it_where_the_section_is_or_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("waypost: 1\n", "utf-8")
    assert run("add", "adx1", "--catalog", str(tmp_path)).exit_code == 0
    assert (tmp_path / "presets.yaml").read_text("utf-8") == "partners:\n  adx1:\n    preset: adx1\n"
    assert run("add", "fatads", "--catalog", str(tmp_path)).exit_code == 0
    assert (tmp_path / "presets.yaml").read_text("utf-8").endswith("  fatads:\n    preset: fatads\n")
    assert (tmp_path / "a.yaml").read_text("utf-8") == "waypost: 1\n"


def test_events_of_own_goals_are_written(file: Path) -> None:
    file.write_text(CATALOG.replace("purchase", "ftd"), "utf-8")
    words = ["meta-capi", "--catalog", str(file), "--with", "pixel_id=123456"]
    assert "add `with: {events: {ftd: Purchase}}`" in run("add", *words).output
    assert run("add", *words, "--with", "events.ftd=Purchase").exit_code == 0
    assert "      events:\n          ftd: Purchase\n" in file.read_text("utf-8")


ENTRY: Entry = {"preset": "x", "with": {"a": "-100", "b": "it's: {odd}", "c": "true", "d": "https://h.example/a?b=c"}}
LINES = "  new:\n    preset: x\n    with:\n      a: '-100'\n      b: 'it''s: {odd}'\n      c: 'true'\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "partners:\n  new:\n"),
        ("waypost: 1", "waypost: 1\n\npartners:\n  new:\n"),
        ("partners:\nlinks: {}\n", "partners:\n  new:\n    preset: x\n"),
        ("partners:   # none yet\n\n# links\nlinks: {}\n", "partners:   # none yet\n  new:\n"),
        ("partners:\n  a:\n    b: |\n      # text\n\n      more\n", "      more\n  new:\n"),
        ("partners:\n  a: {b: c}\n...\n", "  a: {b: c}\n  new:\n"),
        ("partners:\n  a: 'b\n\n    c'\n# end\n", "    c'\n  new:\n"),
    ],
)
def test_where_an_entry_goes(before: str, after: str) -> None:
    text = with_entry(before, "partners", "new", ENTRY)
    assert after in text and LINES.removeprefix("  new:\n") in text
    added = [*LINES.splitlines(), "      d: 'https://h.example/a?b=c'"]
    rest = [line for line in text.splitlines() if line not in added]
    kept = before.splitlines()
    assert rest[: len(kept)] == kept and rest[len(kept) :] in ([], ["partners:"], ["", "partners:"])


@pytest.mark.parametrize("text", ["{waypost: 1}", "partners: {a: {}}", "partners: ~", "x: &p\n  a: {}\npartners: *p\n"])
def test_a_section_within_braces_is_refused(text: str) -> None:
    with pytest.raises(WaypostError, match="not written as a block of lines"):
        with_entry(text, "partners", "new", ENTRY)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("partners: {}\nlinks: {}\n", "partners:\n  new:\n    preset: x\n"),
        ("partners: {}   # none yet\n", "partners:    # none yet\n  new:\n"),
        ("'partners': {}", "'partners':\n  new:\n"),
    ],
)
def test_an_empty_pair_of_braces_gives_way(before: str, after: str) -> None:
    text = with_entry(before, "partners", "new", ENTRY)
    assert text.startswith(after)
    assert yaml.safe_load(text)["partners"] == {"new": ENTRY}


def test_line_ends_stay(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(b"waypost: 1\r\npartners:\r\n  a: {}\r\n")
    assert run("add", "adx1", "--catalog", str(file)).exit_code == 0
    assert file.read_bytes() == b"waypost: 1\r\npartners:\r\n  a: {}\r\n  adx1:\r\n    preset: adx1\r\n"


@pytest.mark.slow
def test_every_preset_can_be_added_by_what_show_suggests(tmp_path: Path) -> None:
    """All of them into one catalog, each with the options that `show` ends with."""
    file = tmp_path / "catalog.yaml"
    file.write_text(catalog_of({"own": {}}), "utf-8")
    for name in PRESETS:
        suggested = run("show", name).output.strip().splitlines()[-1].split()
        words = [word.replace("PATH", str(file)) for word in suggested[3:]]
        done = run(*words)
        assert done.exit_code == 0, done.output
    found = compile_catalog([("c.yaml", file.read_text("utf-8"))], load_settings(environment={}).catalog)
    assert {partner.name for partner in found.partners} == {"own", *SENDERS}
