"""Whatever is written into a catalog, it compiles or is refused with coded errors; nothing else is ever raised."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.catalog_text import DESIGN, SETTINGS
from waypost.catalog.compile import compile_catalog
from waypost.catalog.compiled import Compiled, decode_compiled, encode_compiled
from waypost.catalog.diff import diff_catalogs
from waypost.catalog.keys import KEYS
from waypost.catalog.numbering import Numbered, names_to_number
from waypost.catalog.problems import CatalogErrors
from waypost.errors import ERRORS

WORDS = sorted({key.name for key in KEYS} | {"acme", "geozo", "demo", "install", "true", "30%", "1.20 USD", "env:A"})
SIGNS = st.sampled_from([*"{}[]:,&*!|>'\"%@`#-?\n\t \\", "\x00", "\x85", "\u2028", "\ud800", "é", "---\n", "<<"])


def compile_or_refuse(text: str) -> Compiled | None:
    try:
        return compile_catalog([("r.yaml", text)], SETTINGS)
    except CatalogErrors as refused:
        for error in refused.errors:
            assert error.code in ERRORS
            file, _, line = error.place.rpartition(":")
            assert file == "r.yaml" and 1 <= int(line) <= len(text) + 2
            assert error.message and error.hint
        return None


def as_yaml(value: object) -> str:
    """Flow style; words stand plain, so that they are read as a writer would write them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_yaml(entry) for entry in value) + "]"
    return str(value)


scalars = st.one_of(st.sampled_from(WORDS), st.integers(-5, 10**20).map(str))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=30,
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.one_of(SIGNS, st.sampled_from(WORDS))).map("".join)))
@settings(max_examples=300, deadline=None)
def test_any_text(text: str) -> None:
    compile_or_refuse(text)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(WORDS), trees, max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_tree_of_our_keys(tree: dict[str, object]) -> None:
    compile_or_refuse("waypost: 1\n" + "".join(f"{key}: {as_yaml(value)}\n" for key, value in tree.items()))


@given(st.integers(0, len(DESIGN) - 1), st.integers(0, 20), st.one_of(SIGNS, st.sampled_from(WORDS), st.just("")))
@settings(max_examples=400, deadline=None)
def test_the_designs_catalog_with_a_piece_replaced(start: int, length: int, piece: str) -> None:
    found = compile_or_refuse(DESIGN[:start] + piece + DESIGN[start + length :])
    if found is not None:
        assert decode_compiled(encode_compiled(found)) == found
        assert diff_catalogs(found, found) == []
        numbers = {kind: {n: no for no, n in enumerate(names, 1)} for kind, names in names_to_number(found).items()}
        numbered = Numbered(found, numbers)
        assert sum(1 for route in numbered.routes() if route.offer) == found.counts()["routes"]
        assert all(offer.advertiser for offer in numbered.offers())
