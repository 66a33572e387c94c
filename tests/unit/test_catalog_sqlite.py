"""Versions in the data folder: numbers for ever, nothing half done, look-ups, secrets."""

import fcntl
import os
import signal
import sqlite3
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.catalog_text import CATALOGS, DESIGN, SETTINGS
from waypost.catalog.model import Advertiser
from waypost.catalog.problems import CatalogErrors
from waypost.engines.sqlite import catalog as engine
from waypost.engines.sqlite import catalog_view
from waypost.engines.sqlite.catalog import AppliedCatalog, SqliteCatalogStore, apply_catalog, check_catalog
from waypost.engines.sqlite.catalog_view import SqliteCatalogView
from waypost.errors import WaypostError

LINKS = "links:\n  demo: {partner: geozo, offer: acme-vpn}\n"


class Place:
    """A catalog file beside a data folder."""

    def __init__(self, root: Path) -> None:
        self.file = root / "catalog.yaml"
        self.folder = root / "data" / "catalog"
        self.store = SqliteCatalogStore(self.folder, cache_items_max=1000)

    def apply(self, text: str) -> AppliedCatalog:
        self.file.write_text(text, "utf-8")
        return apply_catalog(self.file, self.folder, SETTINGS)

    def current(self) -> SqliteCatalogView:
        return self.store.open(self.store.current())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def with_links(*names: str) -> str:
    return DESIGN.replace(
        "  demo: ", "".join(f"  {n}: {{partner: geozo, offer: acme-vpn}}\n" for n in names) + "  demo: "
    )


def test_nothing_is_in_force_before_the_first_apply(place: Place) -> None:
    assert (place.store.current(), place.store.versions()) == (0, [])
    with pytest.raises(WaypostError) as caught:
        place.store.open(1)
    assert caught.value.code == "no_catalog"


def test_the_designs_catalog_is_looked_up_by_every_way(place: Place) -> None:
    applied = place.apply(DESIGN)
    counts = {"advertisers": 1, "offers": 1, "partners": 1, "links": 1, "routes": 1}
    assert (applied.version, applied.changed, applied.counts) == (1, True, counts)
    view = place.current()
    link = view.link("demo")
    assert link is not None
    (target,) = link.targets
    assert (link.partner, target.route, target.offer, target.weight) == (1, 1, 1, 1)
    assert view.pair("acme-vpn", "geozo") == link
    route = view.route(1)
    assert route is not None and (route.link, route.partner, route.offer) == ("demo", 1, 1)
    offer = view.offer(1)
    assert offer is not None and offer == view.offer_named("acme-vpn")
    assert (offer.advertiser, offer.caps[0].key) == (1, "o1:conversions:day:Europe/Berlin")
    partner = view.partner(1)
    assert partner is not None and partner == view.partner_named("geozo")
    advertiser = view.advertiser(1)
    assert advertiser is not None and view.owner_of_token("s3cret") == ("advertiser", advertiser.no)
    assert (view.version, view.counts()) == (1, counts)


def test_what_a_version_does_not_have_answers_none(place: Place) -> None:
    place.apply(DESIGN)
    view = place.current()
    assert [view.link("x"), view.pair("acme-vpn", "x"), view.route(2), view.advertiser(0)] == [None] * 4
    assert [view.offer(9), view.partner(9), view.partner_named(""), view.offer_named("\ud800x")] == [None] * 4
    assert [view.route(1 << 70), view.owner_of_token(""), view.owner_of_token("\ud800")] == [None] * 3


def test_the_same_content_makes_no_new_version(place: Place) -> None:
    place.apply(DESIGN)
    again = place.apply(DESIGN)
    assert (again.version, again.changed, place.store.versions()) == (1, False, [1])
    assert place.apply(with_links("more")).version == 2
    assert place.apply(DESIGN).version == 3


def test_numbers_are_kept_for_ever(place: Place) -> None:
    place.apply(with_links("b", "c"))
    before = {name: place.current().link(name) for name in ("b", "c", "demo")}
    place.apply(with_links("a", "c"))  # b is gone, a is new and stands first
    view = place.current()
    assert view.link("b") is None and view.route(1) is None
    added = view.link("a")
    assert added is not None and added.targets[0].route == 4
    place.apply(with_links("b"))
    again, first = place.current().link("b"), before["b"]
    assert again is not None and first is not None
    assert again.targets == first.targets and again.targets[0].route == 1
    old = place.store.open(1).link("c")
    assert old == before["c"]


def test_a_cap_keeps_its_counter_when_its_limit_changes(place: Place) -> None:
    place.apply(DESIGN)
    before = place.current().offer(1)
    place.apply(DESIGN.replace("100000", "5"))
    after = place.current().offer(1)
    assert before is not None and after is not None
    assert (before.caps[0].key, before.caps[0].limit) == (after.caps[0].key, 100000)
    assert after.caps[0].limit == 5


def test_pairs_answer_the_first_link_by_name(place: Place) -> None:
    place.apply(with_links("zebra", "alpha", "middle"))
    found = place.current().pair("acme-vpn", "geozo")
    assert found is not None and found.name == "alpha"


def test_a_broken_version_changes_nothing(place: Place) -> None:
    place.apply(DESIGN)
    with pytest.raises(CatalogErrors):
        place.apply(DESIGN.replace("geozo,", "geozoo,"))
    assert (place.store.current(), place.store.versions()) == (1, [1])
    with pytest.raises(WaypostError) as caught:
        apply_catalog(place.file.with_name("none.yaml"), place.folder, SETTINGS)
    assert caught.value.code == "catalog_not_found"


@pytest.mark.parametrize("step", ["write_artefact", "_set_current", "sync_path"])
def test_an_apply_that_is_cut_short_leaves_the_old_version(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    place.apply(DESIGN)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, step, die)
        with pytest.raises(KeyboardInterrupt):
            place.apply(with_links("more"))
    assert place.store.current() == 1
    view = place.current()
    assert view.link("demo") is not None and view.link("more") is None
    (place.folder / "versions" / "9.db.partial").write_bytes(b"left over")
    (place.folder / "current.partial").write_bytes(b"9")
    applied = place.apply(with_links("more"))
    assert applied.changed and applied.version > 1
    more = place.current().link("more")
    assert more is not None and more.targets[0].route == 2
    assert not list(place.folder.rglob("*.partial"))


@pytest.mark.parametrize("step", ["write_artefact", "_set_current"])
def test_a_killed_apply_leaves_the_old_version_and_no_lock(place: Place, step: str) -> None:
    place.apply(DESIGN)
    child = os.fork()
    if child == 0:
        setattr(engine, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        place.apply(with_links("more"))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert place.store.current() == 1
    applied = place.apply(with_links("more"))
    more = place.current().link("more")
    assert applied.changed and more is not None and more.targets[0].route == 2


def test_activation_is_told_once_and_again_if_that_failed(place: Place) -> None:
    place.file.write_text(DESIGN, "utf-8")
    told: list[int] = []

    def fail(version: int) -> None:
        raise OSError("the journal is full")

    with pytest.raises(OSError, match="full"):
        apply_catalog(place.file, place.folder, SETTINGS, on_activated=fail)
    assert place.store.current() == 1
    assert not apply_catalog(place.file, place.folder, SETTINGS, on_activated=told.append).changed
    apply_catalog(place.file, place.folder, SETTINGS, on_activated=told.append)
    assert told == [1]


def test_only_one_applies_at_a_time(place: Place) -> None:
    place.apply(DESIGN)
    with (place.folder / "lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(WaypostError) as caught:
            place.apply(with_links("more"))
    assert caught.value.code == "catalog_busy"
    assert place.apply(with_links("more")).version == 2


def test_lost_numbers_are_an_error_and_not_given_out_anew(place: Place) -> None:
    place.apply(DESIGN)
    for file in place.folder.glob("numbers.db*"):
        file.unlink()
    with pytest.raises(WaypostError) as caught:
        place.apply(with_links("more"))
    assert caught.value.code == "store_corrupt"


def test_a_version_is_readable_by_its_owner_only(place: Place) -> None:
    place.apply(DESIGN)
    mode = (place.folder / "versions" / "1.db").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_files_of_a_newer_release_and_damaged_ones_are_told_apart(place: Place) -> None:
    place.apply(DESIGN)
    file = place.folder / "versions" / "1.db"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE meta SET value = 2 WHERE name = 'format'")
    connection.close()
    with pytest.raises(WaypostError) as caught:
        place.store.open(1)
    assert caught.value.code == "wire_version"
    file.write_bytes(b"x" * 5000)
    with pytest.raises(WaypostError) as caught:
        place.store.open(1)
    assert caught.value.code == "store_corrupt"
    (place.folder / "current").write_text("one")
    with pytest.raises(WaypostError) as caught:
        place.store.current()
    assert caught.value.code == "store_corrupt"


def owner_named(view: SqliteCatalogView, token: str) -> Advertiser | None:
    owner = view.owner_of_token(token)
    return None if owner is None else view.advertiser(owner.no)


def test_secrets_are_resolved_by_whoever_opens(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    monkeypatch.setenv("ACME_TOKEN", "from-env")
    more = f"token: env:ACME_TOKEN\n  other:\n    token: file:{secret}"
    place.apply(DESIGN.replace("token: s3cret ", more + " "))
    assert b"from-env" not in (place.folder / "versions" / "1.db").read_bytes()
    view = place.current()
    by_env, by_file = (owner_named(view, token) for token in ("from-env", "from-file"))
    assert by_env is not None and (by_env.name, by_env.token) == ("acme", "from-env")
    assert by_file is not None and by_file.name == "other"
    monkeypatch.delenv("ACME_TOKEN")
    view = place.current()
    assert view.secrets_missing == ("the environment variable ACME_TOKEN is not set",)
    assert [view.owner_of_token(token) for token in ("", "env:ACME_TOKEN", "from-env")] == [None] * 3
    lost = view.advertiser(by_env.no)
    assert lost is not None and len(lost.token) == 64


def test_a_secret_that_cannot_be_read_is_refused_at_apply(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACME_TOKEN", raising=False)
    place.file.write_text(DESIGN.replace("token: s3cret", "token: env:ACME_TOKEN"), "utf-8")
    with pytest.raises(CatalogErrors) as caught:
        apply_catalog(place.file, place.folder, SETTINGS)
    (error,) = caught.value.errors
    assert (error.code, error.place, error.hint) == ("catalog_secret", "catalog.yaml:3", "set ACME_TOKEN")
    assert apply_catalog(place.file, place.folder, SETTINGS, secrets=False).version == 1
    for content in (None, b"", b"\xff"):
        path = tmp_path / f"secret-{content!r}"
        if content is not None:
            path.write_bytes(content)
        place.file.write_text(DESIGN.replace("token: s3cret", f'token: "file:{path}"'.replace("\\", "\\\\")), "utf-8")
        with pytest.raises(CatalogErrors) as caught:
            check_catalog(place.file, SETTINGS)
        assert caught.value.errors[0].code == "catalog_secret"


def test_two_advertisers_cannot_resolve_to_one_token(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "s3cret")
    place.file.write_text(DESIGN.replace("advertisers:", "advertisers:\n  b: {token: env:ACME_TOKEN}"), "utf-8")
    with pytest.raises(CatalogErrors) as caught:
        check_catalog(place.file, SETTINGS)
    (error,) = caught.value.errors
    assert error.code == "catalog_duplicate" and "`acme`" in error.message and "s3cret" not in str(error)


def test_a_folder_is_read_in_sorted_order_without_hidden_files(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    (folder / "partners").mkdir(parents=True)
    (folder / ".git").mkdir()
    head, _, tail = DESIGN.partition("partners:")
    (folder / "b.yml").write_text(head)
    (folder / "partners" / "a.yaml").write_text("partners:" + tail)
    (folder / ".git" / "x.yaml").write_text("no: catalog")
    (folder / ".swp.yaml").write_text("no: catalog")
    (folder / "notes.txt").write_text("no catalog")
    assert apply_catalog(folder, place.folder, SETTINGS).counts["links"] == 1
    link = place.current().link("demo")
    assert link is not None and link.place == "partners/a.yaml:7"


def test_files_that_cannot_be_a_catalog(place: Place, tmp_path: Path) -> None:
    def code_of(path: Path, bytes_max: int = SETTINGS.bytes_max) -> tuple[str, str]:
        with pytest.raises(WaypostError) as caught:
            engine.read_sources(path, bytes_max)
        return caught.value.code, caught.value.place

    empty = tmp_path / "empty"
    empty.mkdir()
    assert code_of(empty) == ("catalog_not_found", str(empty))
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    assert code_of(pipe) == ("catalog_not_found", str(pipe))
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"waypost: 1\n# caf\xe9\n")
    assert code_of(latin) == ("catalog_syntax", "latin.yaml:2")
    assert code_of(CATALOGS / "design.yaml", 100)[0] == "catalog_too_large"


def test_the_cache_stays_within_its_bound(place: Place) -> None:
    names = [f"l{no}" for no in range(300)]
    place.apply(with_links(*names))
    store = SqliteCatalogStore(place.folder, cache_items_max=40)
    view = store.open(1)
    for _ in range(2):
        for no, name in enumerate(names, 1):
            link = view.link(name)
            assert link is not None and link.targets[0].route == no
            assert view.route(no) is not None
        kept = [shelf for shelf in vars(view).values() if type(shelf).__name__ == "_Shelf"]
        assert sum(len(shelf.young) + len(shelf.old) for shelf in kept) <= 40
    assert view.link("l299") is view.link("l299")


def test_opening_costs_the_same_for_a_large_catalog(place: Place) -> None:
    small = place.apply(DESIGN).version
    lines = [f"  p{no}: {{}}\n" for no in range(200)]
    links = [f"  m{no}: {{partner: p{no % 200}, offer: acme-vpn}}\n" for no in range(2_000)]
    text = DESIGN.replace("links:\n", "".join(lines) + "links:\n" + "".join(links))
    large = place.apply(text).version

    def steps(version: int, name: str) -> int:
        """Instructions of SQLite's machine for opening a version and finding a link in it."""
        counted = [0]

        def count() -> int:
            counted[0] += 1
            return 0

        def connect(*given: Any, **named: Any) -> sqlite3.Connection:
            connection = sqlite3.connect(*given, **named)
            connection.set_progress_handler(count, 1)
            return connection

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(catalog_view, "sqlite3", SimpleNamespace(connect=connect, Error=sqlite3.Error))
            view = place.store.open(version)
            assert view.link(name) is not None
            view.close()
        return counted[0]

    assert 0 < steps(large, "m1999") == steps(small, "demo")
    view = place.current()
    assert view.counts() == {"advertisers": 1, "offers": 1, "partners": 201, "links": 2_001, "routes": 2_001}
