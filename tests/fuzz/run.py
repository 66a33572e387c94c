"""Feeds one of the checks whatever bytes a coverage-guided fuzzer (atheris, libFuzzer) makes of its seeds.

    python tests/fuzz/run.py connections --seconds 60 [--inputs 1000000] [--corpus FOLDER]

Owns: the budget, and the count of what was run. An input that breaks something, or takes longer than `SLOW_S`, is
written to `FOLDER/broken-…`, printed, and ends the run with exit 1; so does memory that grows. Reads the seeds of the
check and the inputs kept in `kept/NAME.txt`; writes only to FOLDER (`.fuzz/NAME`).
"""

import argparse
import contextlib
import gc
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))

ROOMS = ("waypost.doors", "waypost.stages", "waypost.macros", "waypost.model", "waypost.catalog.aliases")
SLOW_S = 1  # of a core's time; what waits for a busy machine is not slow
HANGS_S = 60
REPORT_EVERY_S = 10
WARM_SHARE = 0.3  # of the run, after which nothing grows any more
BLOCKS_MAX = 40_000  # of Python's allocations, by which a run may end with more than when it was warm
INPUT_BYTES_MAX = 1500


class Run:
    """Counts inputs, and looks at memory."""

    def __init__(self, check: Callable[[bytes], None], seconds: float) -> None:
        self._check = check
        self._begun_s = time.monotonic()
        self._seconds = seconds
        self._reported_s = self._begun_s
        self.inputs = 0
        self._slowest_s = 0.0
        self._warm_blocks = 0

    def feed(self, data: bytes) -> None:
        """One input."""
        self.inputs += 1
        before_s = time.thread_time()
        self._check(data)
        took_s = time.thread_time() - before_s
        if took_s > self._slowest_s:
            self._slowest_s = took_s
            if took_s > SLOW_S:
                raise TimeoutError(f"one input took {took_s:.1f} s")
        now_s = time.monotonic()
        if now_s - self._reported_s >= REPORT_EVERY_S:
            self._reported_s = now_s
            self.report()

    def report(self) -> None:
        """Says how far it is, and ends the run if memory grows."""
        passed_s = time.monotonic() - self._begun_s
        gc.collect()
        blocks = sys.getallocatedblocks()
        if not self._warm_blocks and passed_s >= self._seconds * WARM_SHARE:
            self._warm_blocks = blocks
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"fuzz: {self.inputs} inputs, {self.inputs / passed_s:.0f}/s, slowest {self._slowest_s * 1000:.0f} ms, "
            f"{blocks} blocks of memory, peak {peak_mb:.0f} MB",
            flush=True,
        )
        if self._warm_blocks and blocks > self._warm_blocks + BLOCKS_MAX:
            raise MemoryError(f"{blocks} blocks are held; {self._warm_blocks} were when it was warm")


def main() -> None:
    """Runs one check for as long as is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", help="connections, calls or texts")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--inputs", type=int, default=0, help="ends after so many, if that is earlier")
    parser.add_argument("--corpus", type=Path, default=None, help="where inputs that lead further are kept")
    parser.add_argument("--seed", type=int, default=0, help="0: another at each run")
    asked = parser.parse_args()
    with atheris.instrument_imports(include=list(ROOMS)):
        from fuzz.checks import kept_inputs, load

        check, seeds = load(asked.check)
    corpus = asked.corpus or Path(".fuzz") / asked.check
    corpus.mkdir(parents=True, exist_ok=True)
    for nth, data in enumerate([*seeds, *kept_inputs(asked.check)]):
        (corpus / f"seed-{nth}").write_bytes(data)
    run = Run(check, asked.seconds)
    words = [f"-max_total_time={int(asked.seconds)}", f"-timeout={HANGS_S}", f"-max_len={INPUT_BYTES_MAX}"]
    words += [f"-artifact_prefix={corpus}/broken-", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"]
    words += [f"-seed={asked.seed}"] if asked.seed else []
    words += [f"-runs={asked.inputs}"] if asked.inputs else []
    atheris.Setup([sys.argv[0], *words, str(corpus)], run.feed)
    with contextlib.ExitStack() as at_end:
        at_end.callback(run.report)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
