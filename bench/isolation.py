"""Sick partners beside healthy ones: `python bench/isolation.py`. What it starts: see `house.py`; 50 partners, the same
load on each.

A round is: all healthy, then 1, 5 and 10 of them sick (in turn they hang, reset the connection, drip a byte a second,
answer 500), each under the same open loop for some seconds. The healthy ones are the same in all runs of a round: those
that are never sick. Their p99 and their throughput are put beside those of the round's own baseline, and the medians
over the rounds are shown. After each run the sick are well again, and the run ends when all that they were owed has
arrived. Asserts only that: each postback arrived, every second request for one was marked as a repeat, and `waypost
audit` finds nothing wrong. Hanging lasts as long as the run (`--long`: 30 s).
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from house import Arrived, House, Sent, house, wait
from open_loop import quantiles
from partners import KINDS

PARTNERS = 50
SICK = (0, 1, 5, 10)
P99_RATIO, RATE_RATIO = 1.2, 0.95
# Sick partners are tried again soon, so that a run ends soon after they are well.
DELIVERY = (
    "{retry: [1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 5s, 5s, 5s, 5s, 5s],"
    " breaker: {pause: 500ms, pause_max: 2s}}"
)


class Run(NamedTuple):
    """What the healthy ones had of a run."""

    p50_ms: float
    p99_ms: float
    rate: float
    repeats: int  # of all
    recovery_s: float


def run(chain: House, sick: int, rate: float, seconds: float) -> Run:
    count = round(rate * seconds)
    chain.click(count)
    chain.arrived()
    for nth in range(sick):
        chain.tell(f"sick {KINDS[nth % len(KINDS)]} {nth + 1}")
    sent = chain.call(count, rate)
    owed = {one.n for one in sent if chain.partner_of(one.n) > max(SICK)}
    arrived: list[Arrived] = []

    def have(wanted: set[int]) -> bool:
        arrived.extend(chain.arrived())
        return wanted <= {one.n for one in arrived if one.was_well}

    wait(lambda: have(owed), "every healthy partner has its postbacks")
    healthy = _figures(sent, [one for one in arrived if one.n in owed])
    began = time.monotonic()
    chain.tell("well")
    wait(lambda: have({one.n for one in sent}), "the sick have theirs", 120)
    recovery_s = time.monotonic() - began
    _check(arrived)
    return Run(healthy["p50"], healthy["p99"], healthy["rate"], sum(one.is_repeat for one in arrived), recovery_s)


def _figures(sent: list[Sent], arrived: list[Arrived]) -> dict[str, float]:
    due = {one.n: one.due_s for one in sent}
    took = max(one.at_s for one in arrived) - min(due[one.n] for one in arrived)
    return quantiles([one.at_s - due[one.n] for one in arrived]) | {"rate": len(arrived) / took}


def _check(arrived: list[Arrived]) -> None:
    """Every request but a postback's first is marked; the first one is where nothing was lost on the way."""
    requests: dict[int, list[Arrived]] = defaultdict(list)
    for one in sorted(arrived, key=lambda one: one.at_ns):
        requests[one.n].append(one)
    unmarked = [n for n, all_of in requests.items() if any(not one.is_repeat for one in all_of[1:])]
    twice = [n for n, all_of in requests.items() if sum(one.was_well for one in all_of) > 1]
    if unmarked or twice:
        raise SystemExit(f"repeats without a mark: {unmarked[:10]}; delivered twice: {twice[:10]}")


def shown(found: dict[int, list[Run]]) -> list[dict[str, object]]:
    """Prints, and answers the rows for `run.py`."""
    base = found[0]
    rows: list[dict[str, object]] = []
    for sick, runs in found.items():
        p50, p99, rate, recovery = (
            statistics.median(getattr(one, name) for one in runs) for name in ("p50_ms", "p99_ms", "rate", "recovery_s")
        )
        line = f"{sick:3} of {PARTNERS} sick: healthy p50 {p50:6.1f} ms, p99 {p99:6.1f} ms, {rate:7,.0f}/s"
        if sick:
            p99_ratio = statistics.median(one.p99_ms / own.p99_ms for one, own in zip(runs, base, strict=True))
            rate_ratio = statistics.median(one.rate / own.rate for one, own in zip(runs, base, strict=True))
            line += f"; p99 {p99_ratio:.2f} x, rate {rate_ratio:.2f} x; all theirs {recovery:.1f} s after recovery"
            rows += [
                {"what": f"isolation: {sick} of {PARTNERS} sick, healthy p99", "figure": p99_ratio, "unit": "x"},
                {"what": f"isolation: {sick} of {PARTNERS} sick, healthy rate", "figure": rate_ratio, "unit": "x"},
            ]
        print(line + f"  (p99 of each run: {' '.join(f'{one.p99_ms:.0f}' for one in runs)})")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(), help="a folder on a real disk")
    parser.add_argument("--rate", type=float, default=1000, help="calls a second, all partners")
    parser.add_argument("--seconds", type=float, default=4, help="of one run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="runs of 30 s")
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    options = parser.parse_args()
    seconds = 30 if options.long else options.seconds
    found: dict[int, list[Run]] = {sick: [] for sick in SICK}
    with house(options.data, PARTNERS, delivery=DELIVERY) as chain:
        run(chain, 0, options.rate, 2)  # warm
        for _ in range(options.rounds):
            for sick in SICK:
                found[sick].append(run(chain, sick, options.rate, seconds))
        wait(lambda: not chain.values("courier-0").get("courier_in_flight"), "the courier is at rest")
        report = chain.audit()
        if not report["ok"]:
            raise SystemExit(f"the audit found {report}")
    rows = shown(found)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
