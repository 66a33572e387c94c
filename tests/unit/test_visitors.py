"""What a door finds out of a visitor: geo files that come, go and break; user agents; languages; bounded memories."""

import json
from pathlib import Path

import msgspec
import pytest

from support.geo_file import PLACES, city, write_geo_file
from waypost.engines.visitors.agents import UserAgents
from waypost.engines.visitors.facts import LocalVisitors, language_of
from waypost.engines.visitors.geo import GeoFile, network_of, place_of
from waypost.engines.visitors.recent import Recent
from waypost.errors import WaypostError
from waypost.macros.names import VISITOR
from waypost.model.facts import AGENT_FACTS, GEO_FACTS, Facts
from waypost.settings import VisitorSettings, load_settings
from waypost.telemetry.stats import Stats

GOLDEN = Path(__file__).parent.parent / "golden" / "user_agents.json"
ANDROID = (
    b"Mozilla/5.0 (Linux; Android 14; SM-G991B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
    b"Mobile Safari/537.36"
)


@pytest.fixture(scope="module")
def agents() -> UserAgents:
    return UserAgents()


@pytest.mark.parametrize(("text", "facts"), json.loads(GOLDEN.read_text("utf-8")))
def test_user_agents(agents: UserAgents, text: str, facts: dict[str, str]) -> None:
    found = agents.facts(text.encode())
    assert {name: found.get(name) for name in facts} == facts
    assert set(found) <= set(AGENT_FACTS) and all(found.values())
    assert bool(facts) == bool(found)


def test_a_user_agent_of_any_bytes_is_read(agents: UserAgents) -> None:
    for raw in (b"\xff\xfe\x00", b"Mozilla/5.0 \x80", b"x" * 100_000, "Mozilla/5.0 (Ж)".encode("cp1251")):
        assert agents.facts(raw)["device"] == "other"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (b"de-DE,de;q=0.9,en;q=0.8", "de"),
        (b"FR", "fr"),
        (b" pt-br ", "pt"),
        (b"zh;q=0.5", "zh"),
        (b"*", ""),
        (b"haw-US", ""),
        (b"", ""),
        (b"\xc3\xa4e", ""),
    ],
)
def test_languages(header: bytes, language: str) -> None:
    assert language_of(header) == language


def settings(**changes: object) -> VisitorSettings:
    return msgspec.structs.replace(load_settings(environment={}).visitors, **changes)


def facts(visitors: LocalVisitors, address: str, user_agent: bytes, languages: bytes) -> dict[str, str]:
    (place,) = visitors.places([address])
    return Facts(visitors.browser(user_agent, languages), place).known


def test_facts_of_a_visitor_and_of_one_about_whom_nothing_is_known(tmp_path: Path) -> None:
    file = tmp_path / "city.mmdb"
    write_geo_file(file)
    visitors = LocalVisitors(settings(city_file=str(file)), Stats("door-0"))
    found = facts(visitors, "192.0.2.7", ANDROID, b"de-DE")
    assert {name: found[name] for name in ("country", "region", "city", "language", "os_version", "device")} == {
        "country": "DE", "region": "DE-BE", "city": "Berlin", "language": "de", "os_version": "14", "device": "mobile"
    }  # fmt: skip
    assert found["geo"].isdigit() and set(found) <= {*VISITOR, "geo"}
    assert facts(visitors, "203.0.113.9", b"", b"") == {} == facts(visitors, "no address", b"", b"")
    assert facts(visitors, "2001:db8::1", b"", b"")["country"] == "FR"
    found["country"] = "XX"  # a new mapping
    assert facts(visitors, "192.0.2.7", ANDROID, b"de-DE")["country"] == "DE"


def test_without_files_only_the_user_agent_speaks() -> None:
    visitors = LocalVisitors(settings(), Stats("door-0"))
    assert not set(facts(visitors, "192.0.2.7", ANDROID, b"de")) & set(GEO_FACTS)
    assert visitors.versions() == {}


def test_a_file_that_is_replaced_is_taken_and_what_was_remembered_is_forgotten(tmp_path: Path) -> None:
    file, stats = tmp_path / "city.mmdb", Stats("door-0")
    write_geo_file(file)
    visitors = LocalVisitors(settings(city_file=str(file)), stats)
    assert facts(visitors, "192.0.2.7", b"", b"")["city"] == "Berlin"
    visitors.refresh()
    assert facts(visitors, "192.0.2.7", b"", b"")["city"] == "Berlin"
    write_geo_file(file, {**PLACES, "192.0.2.0/25": city("AT", "9", "Vienna")})
    visitors.refresh()
    assert facts(visitors, "192.0.2.7", b"", b"")["region"] == "AT-9"
    assert stats.values["visitors_city_file_s"] == visitors.versions()["city"] > 1_700_000_000


@pytest.mark.parametrize("damage", ["empty", "noise", "cut", "tree", "gone"])
def test_a_file_that_is_not_valid_is_refused_once_and_the_old_one_stays(tmp_path: Path, damage: str) -> None:
    file, stats = tmp_path / "city.mmdb", Stats("door-0")
    write_geo_file(file)
    whole = file.read_bytes()
    visitors = LocalVisitors(settings(city_file=str(file)), stats)
    bad = tmp_path / "bad"
    if damage == "gone":
        file.unlink()
    else:
        about = whole.index(b"\xab\xcd\xefMaxMind.com")
        content = {"empty": b"", "noise": bytes(range(256)) * 40, "cut": whole[: len(whole) // 2]}
        content["tree"] = whole[about - 40 :]  # the metadata speaks of a tree that is not there
        bad.write_bytes(content[damage])
        bad.rename(file)
    for _ in range(3):
        visitors.refresh()
    assert stats.values["visitors_files_refused"] == (0 if damage == "gone" else 1)
    assert facts(visitors, "192.0.2.8", b"", b"")["city"] == "Berlin"
    write_geo_file(file, {"192.0.2.0/24": city("AT")})
    visitors.refresh()
    assert facts(visitors, "192.0.2.8", b"", b"")["country"] == "AT"


def test_a_file_that_is_written_over_in_place_changes_under_nobody(tmp_path: Path) -> None:
    file, copies = tmp_path / "city.mmdb", tmp_path / "copies"
    write_geo_file(file)
    doors = [GeoFile(file, copies) for _ in range(2)]
    assert [door.refresh() for door in doors] == [True, True]
    (first,) = copies.iterdir()  # one for both
    with file.open("r+b") as stream:
        stream.write(bytes(file.stat().st_size))
    assert [door.look("192.0.2.7")["city"]["names"]["en"] for door in doors] == ["Berlin", "Berlin"]
    with pytest.raises(WaypostError):
        doors[0].refresh()
    assert doors[0].look("192.0.2.7") and list(copies.iterdir()) == [first]  # no copy of what is refused
    write_geo_file(file, {"192.0.2.0/24": city("AT")})
    assert [door.refresh() for door in doors] == [True, True]
    assert {door.look("192.0.2.7")["country"]["iso_code"] for door in doors} == {"AT"}
    (second,) = copies.iterdir()
    assert second != first


def test_without_room_for_a_copy_the_file_itself_is_read(tmp_path: Path) -> None:
    file, copies = tmp_path / "city.mmdb", tmp_path / "copies"
    write_geo_file(file)
    copies.write_text("no folder")
    found = GeoFile(file, copies)
    assert found.refresh() is True and found.look("192.0.2.7")["city"]["names"]["en"] == "Berlin"


def test_a_file_that_is_not_there_is_said_once_and_taken_when_it_comes(tmp_path: Path) -> None:
    file = GeoFile(tmp_path / "city.mmdb")
    with pytest.raises(WaypostError, match="no such file"):
        file.refresh()
    assert file.refresh() is False and file.look("192.0.2.7") == {}
    write_geo_file(file.file)
    assert file.refresh() is True and file.look("192.0.2.7")["country"]["iso_code"] == "DE"


def test_records_of_other_vendors() -> None:
    assert place_of({"country": "us", "region": "California", "city": "Los Angeles"}) == {
        "country": "US", "region": "California", "city": "Los Angeles"
    }  # fmt: skip
    assert place_of({"country_code": "DE"}) == {"country": "DE"}
    assert (
        place_of({"country": {"iso_code": "DE"}, "subdivisions": [{"names": {"en": "Bavaria"}}]})["region"] == "Bavaria"
    )
    assert place_of({"country": 5, "subdivisions": ["x"], "city": []}) == {}
    assert network_of({"autonomous_system_number": 3320, "autonomous_system_organization": "Telekom"}) == "Telekom"
    assert network_of({"isp": "A", "organization": "B"}) == "A" and network_of({}) == ""


def test_a_memory_keeps_what_is_asked_for_and_drops_the_rest() -> None:
    asked: list[int] = []

    def find(key: int) -> int:
        asked.append(key)
        return key * 2

    memory = Recent(10, find)
    for key in range(1000):
        assert memory.get(key) == key * 2 and memory.get(-1) == -2
        assert len(memory) <= 10
    assert asked.count(-1) == 1 and memory.misses == 1001
    memory.clear()
    assert len(memory) == 0 and memory.get(5) == 10
