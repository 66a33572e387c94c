"""A partner's names for our click parameters: its URLs work as they were made for another tracker.

Owns: how such names are read. Input: parameters as they came, and a map inbound name → ours (`Partner.click_names`).
Pure. What the click brought under our own name counts first; what it brought under theirs stays there too.
"""

from collections.abc import Mapping


def add_ours(parameters: dict[str, str], names: Mapping[str, str]) -> None:
    """Puts our names beside theirs. Of several that mean the same the first in `names` that is there counts."""
    for theirs, ours in names.items():
        if theirs in parameters and ours not in parameters:
            parameters[ours] = parameters[theirs]


def theirs_of(ours: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """The names that one of our parameters also goes by, in the order in which they count."""
    return tuple(theirs for theirs, meant in names.items() if meant == ours)
