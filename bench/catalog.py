"""Times of a large catalog: reading, compiling, applying, opening. Run it as `python bench/catalog.py`.

Owns: the made-up catalog of 10,000 partners and 100,000 links. Writes to a temporary folder, and prints; no assertions.
"""

import argparse
import gc
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from waypost.catalog.compile import compile_catalog
from waypost.catalog.compiled import encode_compiled
from waypost.catalog.problems import Problems
from waypost.catalog.source import read_sources
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.settings import load_settings

T = TypeVar("T")
ROWS: list[dict[str, object]] = []  # what was timed, for --json


def catalog_lines(partners: int, links: int, offers: int = 1_000, advertisers: int = 200) -> Iterator[str]:
    """A catalog in which each partner has a template of its own."""
    yield "waypost: 1\nadvertisers:\n"
    for no in range(advertisers):
        yield f"  advertiser-{no}: {{token: token-of-advertiser-{no}}}\n"
    yield "offers:\n"
    for no in range(offers):
        yield f"  offer-{no}:\n    advertiser: advertiser-{no % advertisers}\n"
        yield f"    url: https://landing-{no}.example/?cid={{click_id}}&s={{sub1}}\n"
        yield "    goals:\n      install: {payout: 1.20 USD}\n      purchase: {payout: 30%}\n"
        yield "    caps: [{count: conversions, limit: 1000, per: day, timezone: Europe/Berlin}]\n"
    yield "partners:\n"
    for no in range(partners):
        yield f"  partner-{no}:\n    postbacks:\n      - on: {{goal: install, status: approved}}\n"
        yield f"        get: https://partner-{no}.example/pb?cid={{sub1}}&money={{payout}}&type={{status}}\n"
    yield "links:\n"
    for no in range(links):
        yield f"  link-{no}: {{partner: partner-{no % partners}, offer: offer-{no % offers}}}\n"


def timed(what: str, work: Callable[[], T]) -> T:
    """Does it, and prints how long it took."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    taken_ms = (time.perf_counter() - start) * 1000
    print(f"{what:44}{taken_ms:12.2f} ms")
    ROWS.append({"what": f"catalog: {what}", "figure": taken_ms, "unit": "ms"})
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--partners", type=int, default=10_000)
    parser.add_argument("--links", type=int, default=100_000)
    parser.add_argument("--data", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    sizes = parser.parse_args()
    settings = load_settings().catalog
    with tempfile.TemporaryDirectory(dir=sizes.data) as name:
        file, folder = Path(name, "catalog.yaml"), Path(name, "data")
        file.write_text("".join(catalog_lines(sizes.partners, sizes.links)))
        text = file.read_text()
        print(f"{sizes.partners} partners, {sizes.links} links, {len(text) / 1e6:.1f} MB of YAML")
        timed("read the tree", lambda: read_sources([(file.name, text)], Problems()))
        compiled = timed("read and compile", lambda: compile_catalog([(file.name, text)], settings))
        timed("encode the compiled form", lambda: encode_compiled(compiled))
        timed("apply, the first version", lambda: apply_catalog(file, folder, settings))
        timed("apply again, nothing changed", lambda: apply_catalog(file, folder, settings))
        file.write_text(text + "  link-more: {partner: partner-0, offer: offer-0}\n")
        timed("apply, one link more", lambda: apply_catalog(file, folder, settings))
        store = SqliteCatalogStore(folder, cache_items_max=100_000)
        version = timed("current version", store.current)
        view = timed("open", lambda: store.open(version))
        timed("first look-up of a link", lambda: view.link("link-77"))
        timed("first look-up of a token", lambda: view.owner_of_token("token-of-advertiser-7"))
        names = [f"link-{no}" for no in range(min(10_000, sizes.links))]
        timed(f"{len(names)} links, each for the first time", lambda: [view.link(n) for n in names])
        timed(f"{len(names)} links, cached", lambda: [view.link(n) for n in names])
        print(f"artefact {(folder / 'versions' / f'{version}.db').stat().st_size / 1e6:.1f} MB, ", end="")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    if sizes.json:
        sizes.json.write_text(json.dumps({"rows": ROWS}))


if __name__ == "__main__":
    main()
