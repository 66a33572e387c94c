"""What a postback costs with 10 lanes and with 10,000, and beside 10,000 that do not send: `python bench/lanes.py`.

What it starts: couriers on core 0, one at work at a time, and an nginx that answers 200 on core 1. All partners have
the same address, so what differs is lanes and not connections. Rounds are in turn; medians of CPU time are compared, of
all threads. Beside as many lanes at work stand 10,000 others: `idle` (their partners are in the catalog, and nothing is
for them), `waiting` (one postback each, due in an hour), `broken` (one each, that was answered 500 and is to be tried
again in an hour), `throttled` (four each, and a rate of one an hour).
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from delivery import (
    OURS,
    SICK,
    Cost,
    catalog,
    check,
    deliver,
    fill_outbox,
    free_port,
    open_courier,
    partner_numbers,
    sink,
)
from waypost.runtime.process import collect_rarely
from waypost.settings import Settings, load_settings

RATIO = 1.2
_ADDRESS = "127.0.0.11"
_HOUR_MS = 3600 * 1000
_DELIVERY = {"broken": "{retry: [1h, 1h], jitter: 0%, breaker: off}", "throttled": "{rate: 1/h}"}
_EACH = {"waiting": 1, "broken": 1, "throttled": 4}  # postbacks of each lane that does not send
_COUNTS = {"waiting": "", "broken": "courier_retries", "throttled": "courier_delivered"}


class Case:
    """A courier with `works` lanes at work, beside `others` of some kind that do not send."""

    def __init__(
        self, folder: Path, settings: Settings, port: int, works: int, kind: str = "", others: int = 0
    ) -> None:
        self.name = f"{works:,} lanes" + (f" beside {others:,} {kind}" if kind else "")
        self.works = works
        self._folder = folder / self.name.replace(" ", "-")
        self._folder.mkdir()
        self._settings = settings
        host = f"http://{_ADDRESS}:{port}"
        partners = [(host, "{}")] * works
        partners += [(host + SICK if kind == "broken" else host, _DELIVERY.get(kind, "{}"))] * others
        catalogs = catalog(self._folder, settings, partners)
        view = catalogs.open(catalogs.current())
        self._version = view.version
        self._lanes = partner_numbers(view, range(1, works + 1))
        self._filled = 0
        self.costs: list[Cost] = []
        if kind in _EACH:
            due_ms = time.time_ns() // 1_000_000 + _HOUR_MS if kind == "waiting" else 0
            self._fill(partner_numbers(view, range(works + 1, works + others + 1)), others * _EACH[kind], due_ms)
        self._courier = open_courier(self._folder, settings, catalogs)
        self._settle(_COUNTS.get(kind, ""), others)

    def run(self, count: int) -> None:
        """A round: so many postbacks for the lanes at work."""
        self._fill(self._lanes, count)
        self.costs.append(deliver(self._courier, count))

    def close(self) -> None:
        self._courier.drain()
        check(self._courier)
        self._courier.close()

    @property
    def cpu_us(self) -> float:
        return statistics.median(one.cpu_us for one in self.costs)

    def _fill(self, lanes: list[int], count: int, due_ms: int = 0) -> None:
        fill_outbox(self._folder, self._settings, self._version, lanes, count, due_ms=due_ms, first=self._filled)
        self._filled += count

    def _settle(self, counter: str, wanted: int) -> None:
        """Until those beside stand as they should."""
        values, end = self._courier._stats.values, time.monotonic() + 60
        while self._courier._reader.position < self._filled or (counter and values[counter] < wanted):
            self._courier.step()
            if time.monotonic() > end:
                raise SystemExit(f"{self.name}: {values[counter]} of {wanted} {counter}")


def compare(cases: list[Case], rounds: int, count: int) -> list[dict[str, object]]:
    """All cases in turn, beside the first; rows for `run.py`."""
    for case in cases:
        case.run(max(count // 4, case.works))  # connections are made, templates compiled
        case.costs.clear()
    for _ in range(rounds):
        for case in cases:
            case.run(count)
    rows: list[dict[str, object]] = []
    for case in cases:
        ratio = case.cpu_us / cases[0].cpu_us
        each = " ".join(f"{one.cpu_us / own.cpu_us:.2f}" for one, own in zip(case.costs, cases[0].costs, strict=True))
        rate = statistics.median(one.rate for one in case.costs)
        print(
            f"{case.name:36} {rate:8,.0f}/s {case.cpu_us:7.1f} us CPU each, {ratio:.2f} x  (rounds {each})", flush=True
        )
        if case is not cases[0]:
            rows.append({"what": f"lanes: {case.name}", "figure": ratio, "unit": "x", "cpu_us": case.cpu_us})
        case.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(), help="where the temporary data folder is made")
    parser.add_argument("--lanes", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--beside", type=int, default=10_000)
    parser.add_argument("--kinds", nargs="*", default=["idle", "waiting", "broken", "throttled"])
    parser.add_argument("--count", type=int, default=20_000, help="postbacks of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    options = parser.parse_args()
    settings = load_settings(None, {})
    os.sched_setaffinity(0, {OURS})
    collect_rarely()  # as the role's process does
    port = free_port()
    with tempfile.TemporaryDirectory(dir=options.data, prefix=".bench-") as name:
        folder = Path(name).resolve()
        with sink(folder, port, [_ADDRESS]):
            cases = [Case(folder, settings, port, lanes) for lanes in options.lanes]
            rows = compare(cases, options.rounds, options.count)
            few = folder / "beside"
            few.mkdir()
            cases = [Case(few, settings, port, 100)]
            cases += [Case(few, settings, port, 100, kind, options.beside) for kind in options.kinds]
            rows += compare(cases, options.rounds, options.count)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
