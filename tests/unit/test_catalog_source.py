"""The YAML subset: places, merging, booleans as text, bounds on depth and aliases."""

import pytest

from waypost.catalog.problems import CatalogErrors, Problems
from waypost.catalog.source import ALIAS_NODES_MAX, DEPTH_MAX, Items, Mapping, Scalar, read_sources


def read(*texts: str) -> Mapping:
    problems = Problems()
    tree = read_sources([(f"f{nth}.yaml", text) for nth, text in enumerate(texts)], problems)
    problems.raise_any()
    return tree


def only_error(*texts: str) -> tuple[str, str, str]:
    with pytest.raises(CatalogErrors) as caught:
        read(*texts)
    (error,) = caught.value.errors
    return error.code, error.place, error.message


def mapping(node: object) -> Mapping:
    assert isinstance(node, Mapping)
    return node


def text(node: object) -> str:
    assert isinstance(node, Scalar)
    return node.text


def test_every_node_knows_its_place() -> None:
    tree = read("a:\n  b: 1\n  c:\n    - x\n    - {d: y}\n")
    a = mapping(tree.entries["a"])
    assert a.keys == {"b": ("f0.yaml", 2), "c": ("f0.yaml", 3)}
    items = a.entries["c"]
    assert isinstance(items, Items)
    assert [node.at for node in items.nodes] == [("f0.yaml", 4), ("f0.yaml", 5)]


def test_scalars_stay_the_text_that_was_written() -> None:
    tree = read('{on: no, a: 007, b: 30%, c: 1.20 USD, d: "true", e: ~, f: 12:30:45, g: 0x1F}')
    assert {key: text(node) for key, node in tree.entries.items()} == {
        "on": "no", "a": "007", "b": "30%", "c": "1.20 USD", "d": "true", "e": "~", "f": "12:30:45", "g": "0x1F",
    }  # fmt: skip
    quoted = tree.entries["d"]
    assert isinstance(quoted, Scalar) and not quoted.plain


def test_sections_of_several_files_are_merged() -> None:
    tree = read("waypost: 1\nlinks: {a: 1}\n", "", "# only a comment\n", "waypost: 1\nlinks: {b: 2}\n")
    assert list(mapping(tree.entries["links"]).entries) == ["a", "b"]


def test_an_empty_section_is_filled_by_another_file() -> None:
    tree = read("links:\n", "links: {b: 2}\n", "links:\n")
    assert list(mapping(tree.entries["links"]).entries) == ["b"]


def test_a_name_in_two_files_names_both_places() -> None:
    code, place, message = only_error("links:\n  a: 1\n", "links:\n\n  a: 2\n")
    assert (code, place, message) == ("catalog_duplicate", "f1.yaml:3", "given twice: first at f0.yaml:2")


def test_a_key_twice_in_one_mapping_names_both_places() -> None:
    with pytest.raises(CatalogErrors) as caught:
        read("links:\n  a: {x: 1}\n  b:\n    x: 1\n    y: 2\n    x: 3\n")
    (error,) = caught.value.errors
    assert (error.code, error.place, error.field) == ("catalog_duplicate", "f0.yaml:6", "links.b.x")
    assert "f0.yaml:4" in error.message


def test_aliases_share_what_they_name() -> None:
    goals = mapping(read("goals: {a: &terms {payout: 1}, b: *terms}\n").entries["goals"])
    assert goals.entries["a"] is goals.entries["b"]


@pytest.mark.parametrize(
    ("source", "place", "part"),
    [
        ("a: [1, 2\nb: 3\n", "f0.yaml:2", "expected"),
        ("a: b: c\n", "f0.yaml:1", "mapping values"),
        ("a:\n\t- b\n", "f0.yaml:2", "token"),
        ("- a\n- b\n", "f0.yaml:1", "a mapping of sections"),
        ("just text\n", "f0.yaml:1", "a mapping of sections"),
        ("a: 1\n---\nb: 2\n", "f0.yaml:2", "second document"),
        ("a: 1\nb: !!python/object:os.system x\n", "f0.yaml:2", "no meaning"),
        ("a: 1\nb: !!map {}\n", "f0.yaml:2", "no meaning"),
        ("a: 1\nb: *nowhere\n", "f0.yaml:2", "nothing is anchored"),
        ("a: &a\n  b: *a\n", "f0.yaml:2", "within what it names"),
        ("a: 1\n{b: c}: d\n", "f0.yaml:2", ""),
        ("? [a]\n: b\n", "f0.yaml:1", "a key must be text"),
        ("a: 1\nb: \x00\n", "f0.yaml:1", ""),
        ("a: \ud800\n", "f0.yaml:1", ""),
    ],
)
def test_what_is_no_catalog_is_refused_with_its_place(source: str, place: str, part: str) -> None:
    code, found, message = only_error(source)
    assert code == "catalog_syntax"
    assert found == place
    assert part in message


@pytest.mark.parametrize("source", ["[" * 100_000, "a: " + "{b: " * 100_000, "- " * 50_000])
def test_deep_nesting_ends_at_the_bound(source: str) -> None:
    with pytest.raises(CatalogErrors) as caught:
        read(source)
    assert f"nested deeper than {DEPTH_MAX}" in str(caught.value)


def test_aliases_cannot_expand_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(CatalogErrors) as caught:
        read("\n".join(lines))
    (error,) = caught.value.errors
    assert error.code == "catalog_too_large"
    assert str(ALIAS_NODES_MAX) in error.message


def test_a_broken_file_does_not_hide_what_is_wrong_with_another() -> None:
    with pytest.raises(CatalogErrors) as caught:
        read("a: ]", "b: {c: 1, c: 2}", "d: }")
    assert [error.place for error in caught.value.errors] == ["f0.yaml:1", "f1.yaml:1", "f2.yaml:1"]
