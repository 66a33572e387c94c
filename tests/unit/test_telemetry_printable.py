"""`telemetry/printable.py`: nothing that it lets through steers a terminal, and all else is as it was."""

from hypothesis import given
from hypothesis import strategies as st

from waypost.telemetry.printable import printable


@given(st.text())
def test_controls_are_written_out(text: str) -> None:
    shown = printable(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert len(shown.splitlines()) <= 1


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])))
def test_all_else_stays(text: str) -> None:
    assert printable(text) == text
