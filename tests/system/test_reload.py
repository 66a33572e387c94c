"""The catalog changes on disk under load: what is right comes into force, what is broken does not, nobody notices."""

from pathlib import Path

import pytest

from support.catalog_text import DESIGN, changed
from support.installation import fetch, until
from support.steady import Steady
from support.waypost_process import WaypostProcess, of_event

pytestmark = pytest.mark.system

SECOND = "  second: {partner: geozo, offer: acme-vpn}\n"


def test_a_new_link_works_and_a_broken_version_does_not_without_a_failed_request(tmp_path: Path) -> None:
    with WaypostProcess(tmp_path, DESIGN) as house, Steady(house.port, "/c/demo?sub1=steady") as steady:
        pids = house.pids()
        assert fetch(house.port, "/c/second").status == 404
        house.catalog.write_text(DESIGN + SECOND)
        until(lambda: _all_doors_answer(house, "/c/second", 302), "the new link works at every door")

        house.catalog.write_text(changed("partner: geozo", "partner: geoso") + SECOND)
        line = next(nth for nth, text in enumerate(house.catalog.read_text().splitlines(), 1) if "geoso" in text)
        until(lambda: "catalog refused" in house.said(), "the refusal is in the supervisor's log")
        (said,) = [text for text in house.said().splitlines() if "catalog refused" in text]
        assert f"catalog.yaml:{line}: " in said
        assert "geozo" in said  # what was meant
        assert "[catalog_unknown_name]" in said
        assert _all_doors_answer(house, "/c/second", 302)
        assert house.health().status == 200

        house.catalog.write_text(changed("payout: 1.20 USD", "payout: 1.50 USD") + SECOND)
        until(lambda: house.status()["catalog"] == 3, "the corrected version is in force")
        assert house.pids() == pids, "nothing was restarted"
        assert (steady.refused, steady.broken) == ([], [])
        assert set(steady.statuses) == {302}
        assert steady.answered > 100


def _all_doors_answer(house: WaypostProcess, target: str, status: int) -> bool:
    """Whether 20 new connections, which the kernel spreads over the doors, are all answered so."""
    return {fetch(house.port, target).status for _ in range(20)} == {status}


def test_terms_are_those_of_the_click_s_version(tmp_path: Path) -> None:
    with WaypostProcess(tmp_path, DESIGN) as house:
        early = house.click("demo", sub1="early")
        house.catalog.write_text(changed("payout: 1.20 USD", "payout: 1.50 USD"))
        until(lambda: house.status()["catalog"] == 2, "version 2 is in force")
        until(lambda: _versions(house) == {2}, "every role follows")
        late = house.click("demo", sub1="late")
        for click_id, payout, terms in ((early, "1.20 USD", 1), (late, "1.50 USD", 2)):
            receipt = house.postback(click_id=click_id, goal="install", token="s3cret").json["receipt"]
            (decision,) = until(lambda receipt=receipt: of_event(house.trace(receipt), "decision"), "a verdict")
            assert (decision["payout"], decision["terms_catalog"], decision["catalog"]) == (payout, terms, 2)


def _versions(house: WaypostProcess) -> set[int]:
    """What the roles that read the catalog say."""
    roles = ("door-0", "door-1", "pipeline", "courier-0")
    return {house.snapshot(role).get("values", {}).get("catalog_version", 0) for role in roles}
