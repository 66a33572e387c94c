"""Settings: the shipped defaults, a file over them, the environment over both; each mistake named with its place."""

from pathlib import Path

import msgspec
import pytest

from waypost.errors import WaypostError
from waypost.settings import load_settings


def refused(file: Path | None, environment: dict[str, str]) -> str:
    with pytest.raises(WaypostError) as caught:
        load_settings(file, environment)
    assert caught.value.code == "bad_settings"
    return str(caught.value)


def test_the_defaults_are_whole_and_right() -> None:
    settings = load_settings(None, {})
    assert settings.door.count == 2 and settings.courier.retry_schedule_ms[0] == 5000
    assert len(msgspec.structs.fields(settings)) == 9


def test_a_file_changes_what_it_names_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[door]\ncount = 4\n[courier]\nretry_schedule_ms = [1000, 2000]\n", "utf-8")
    settings = load_settings(file, {"WAYPOST_DOOR_COUNT": "7", "WAYPOST_PIPELINE_SUM_MAX": "5000", "PATH": "x"})
    assert (settings.door.count, settings.pipeline.sum_max) == (7, "5000")
    assert settings.courier.retry_schedule_ms == (1000, 2000)
    assert load_settings(tmp_path / "none.toml", {}).door.count == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[dor]\ncount = 1\n", "there is no section [dor]"),
        ("[door]\ncuont = 1\n", "[door] has no setting cuont"),
        ("[door]\ncount = 0\n", "[door] count: must be at least 1"),
        ("[door]\ncount = 'two'\n", "Expected `int`"),
        ("[courier]\npoll_ms = -1\n", "[courier] poll_ms: must not be negative"),
        ("[pipeline]\nsum_max = '1e9'\n", "[pipeline] sum_max: must be a whole number"),
        ("[pipeline]\nsum_max = 'abc'\n", "[pipeline] sum_max: must be a whole number"),
        ("[door\n", "settings.toml"),
    ],
)
def test_a_mistake_in_the_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text, "utf-8")
    message = refused(file, {})
    assert said in message and "settings.toml" in message


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("WAYPOST_DOOR_CUONT", "1", "[door] has no setting cuont"),
        ("WAYPOST_DOOR_COUNT", "two", "WAYPOST_DOOR_COUNT"),
        ("WAYPOST_COURIER_RETRY_SCHEDULE_MS", "[1,", "WAYPOST_COURIER_RETRY_SCHEDULE_MS"),
    ],
)
def test_a_mistake_in_the_environment(variable: str, text: str, said: str) -> None:
    assert said in refused(None, {variable: text})


def test_every_setting_is_read_somewhere() -> None:
    source = Path(__file__).parents[2] / "src" / "waypost"
    code = "\n".join(file.read_text("utf-8") for file in source.rglob("*.py") if file.name != "settings.py")
    settings = load_settings(None, {})
    names = [
        f"{section}.{name}"
        for section in msgspec.structs.asdict(settings)
        for name in msgspec.structs.asdict(getattr(settings, section))
    ]
    assert [name for name in names if f".{name.partition('.')[2]}" not in code] == []
