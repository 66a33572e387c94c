"""The loss of any one row of the catalog's store is noticed and named."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.settings import load_settings

SETTINGS = load_settings(None, {}).catalog
FIRST = """
waypost: 1
advertisers:
  acme: {token: s3cret}
  globex: {token: "env:GLOBEX_TOKEN"}
offers:
  vpn: {advertiser: acme, url: "http://127.0.0.1:9000/?c={click_id}", goals: {install: {payout: 1 USD}}}
  game: {advertiser: globex, url: "http://127.0.0.1:9000/?c={click_id}", goals: {buy: {payout: 10%}}}
partners:
  geozo: {postbacks: [{on: {goal: install}, get: "http://127.0.0.1:9001/?c={sub1}"}]}
links:
  demo: {partner: geozo, offer: vpn}
  other: {partner: geozo, offer: game}
"""


def rows(root: Path) -> list[tuple[Path, str, dict[str, object]]]:
    found = []
    for file in sorted(root.rglob("*.db")):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
                cursor = connection.execute(f"SELECT * FROM {table}")
                names = [column[0] for column in cursor.description]
                found += [(file, table, dict(zip(names, row, strict=True))) for row in cursor]
    return found


def test_every_row_of_every_file(tmp_path: Path) -> None:
    source = tmp_path / "catalog.yaml"
    folder = tmp_path / "catalog"
    for text in (FIRST, FIRST.replace("1 USD", "2 USD")):
        source.write_text(text, "utf-8")
        apply_catalog(source, folder, SETTINGS, secrets=False)
    for file in folder.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store = SqliteCatalogStore(folder, cache_items_max=100)
    assert store.problems() == []
    unnoticed = []
    tables = set()
    for file, table, row in rows(folder):
        tables.add(table)
        kept = tmp_path / "kept.db"
        shutil.copyfile(file, kept)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            where = " AND ".join(f'"{name}" IS ?' for name in row)
            assert connection.execute(f"DELETE FROM {table} WHERE {where}", list(row.values())).rowcount == 1
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if not store.problems():
            unnoticed.append((file.name, table, row))
        for side in file.parent.glob(f"{file.name}-*"):
            side.unlink()
        shutil.copyfile(kept, file)
    assert unnoticed == []
    assert tables == {
        "advertisers", "links", "meta", "numbers", "offers", "pairs", "partners", "routes", "secrets", "tokens",
        "versions",
    }  # fmt: skip


def test_a_lost_version_and_a_lost_pointer(tmp_path: Path) -> None:
    source = tmp_path / "catalog.yaml"
    source.write_text(FIRST, "utf-8")
    folder = tmp_path / "catalog"
    assert SqliteCatalogStore(folder, cache_items_max=9).problems() == []
    apply_catalog(source, folder, SETTINGS, secrets=False)
    (folder / "current").rename(tmp_path / "current")
    assert "no version is in force" in SqliteCatalogStore(folder, cache_items_max=9).problems()[0]
    (tmp_path / "current").rename(folder / "current")
    (folder / "versions" / "1.db").unlink()
    assert "version 1 is in force, and its file is missing" in SqliteCatalogStore(folder, cache_items_max=9).problems()
