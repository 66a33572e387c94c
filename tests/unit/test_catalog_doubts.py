"""What `waypost catalog check` doubts: rules that ask for facts which this installation never has."""

import msgspec
import pytest

from support.catalog_text import DESIGN, changed, compiled
from waypost.catalog.doubts import doubts_about
from waypost.settings import VisitorSettings, load_settings

CAP = "      - {count: conversions, limit: 100000, per: day, timezone: Europe/Berlin}"
VISITORS = load_settings(environment={}).visitors


def found(more: str, **files: str) -> list[str]:
    settings: VisitorSettings = msgspec.structs.replace(VISITORS, **files)
    return doubts_about(compiled(changed(CAP, f"{CAP}\n    {more}") if more else DESIGN), settings)


@pytest.mark.parametrize(
    ("more", "setting"),
    [
        ("targeting: {country: DE}", "city_file"),
        ("targeting: {isp: 'T*'}", "isp_file"),
        ("if: city == 'Berlin' and device == 'tv'", "city_file"),
    ],
)
def test_a_rule_that_asks_for_what_no_file_says_is_doubted(more: str, setting: str) -> None:
    (doubt,) = found(more)
    assert doubt.startswith("offers.acme-vpn: ask") and setting in doubt
    assert found(more, **{setting: "there.mmdb"}) == []


@pytest.mark.parametrize("more", ["", "targeting: {os: iOS}", "targeting: {not: {country: RU}}"])
def test_other_rules_are_not(more: str) -> None:
    assert found(more) == []
