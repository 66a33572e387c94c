"""Facts of a visitor in two parts: they are found as in one mapping, and stand in a frame as one."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.macros.names import VISITOR
from waypost.model.facts import BROWSER_FACTS, GEO_FACTS, NO_BROWSER, Facts
from waypost.model.frames import Click
from waypost.model.wire import decode_frame, encode_frame, encode_part

NAMES = (*GEO_FACTS, *BROWSER_FACTS)
CLICK = Click(1, 2, 3, 4, 0, 5, 6, b"sub1=a", mode="json", user=b"u")


def test_every_fact_belongs_to_one_part() -> None:
    assert set(VISITOR) <= set(NAMES) and len(set(NAMES)) == len(NAMES)
    assert set(NO_BROWSER.values) == set(BROWSER_FACTS) and not NO_BROWSER.known


@given(st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=3)), st.text(max_size=40), max_size=20))
@example({})
@example(dict.fromkeys(NAMES, "x"))
@example({str(nth): "x" for nth in range(15)})
@example({str(nth): "x" for nth in range(16)})
@example({str(nth): "x" for nth in range(40)})
def test_facts_stand_in_a_frame_as_one_mapping(known: dict[str, str]) -> None:
    facts = Facts.of(known)
    assert facts.known == known
    assert all(facts.get(name) == known.get(name, "") for name in (*NAMES, *known))
    assert facts.get("nobody's", "none") == known.get("nobody's", "none")
    frame = encode_frame(msgspec.structs.replace(CLICK, visitor=facts.encoded()))
    assert decode_frame(frame) == msgspec.structs.replace(CLICK, visitor=known)
    assert len(facts.encoded()) == len(encode_part(known))  # nothing else stands there


@pytest.mark.parametrize("count", [255, 256, 70_000])
def test_facts_that_no_door_ever_wrote_are_read_all_the_same(count: int) -> None:
    known = {str(nth): "x" for nth in range(count)}  # of a recording that somebody made by hand
    facts = Facts.of(known)
    assert facts.known == known and facts.get("7") == "x"
    assert facts.browser.entries.count(b"\xa1x") == count


def test_what_is_known_is_a_copy() -> None:
    facts = Facts.of({"country": "DE", "os": "iOS"})
    facts.known["country"] = "XX"
    facts.place.known.clear()
    assert facts.known == {"country": "DE", "os": "iOS"}
    with pytest.raises(AttributeError):
        facts.place = NO_BROWSER  # type: ignore[misc]
