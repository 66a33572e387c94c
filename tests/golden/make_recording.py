"""Makes tests/golden/replay/traffic.recording anew: run it only where decisions are meant to come out otherwise.

    PYTHONPATH=tests python tests/golden/make_recording.py

Traffic, keys and times are seeded: of the same release it always makes the same decisions.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from support.replay_world import ReplayWorld

GOLDEN = Path(__file__).parent / "replay" / "traffic.recording"


def make(file: Path) -> None:
    """Lives through the traffic and records it; a first part is judged before, so that there is something before."""
    with TemporaryDirectory() as folder:
        world = ReplayWorld(Path(folder))
        world.live(7)
        times = world.batch_times()
        world.record(file, from_ms=times[len(times) // 4])


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.unlink(missing_ok=True)
    make(GOLDEN)
    print(f"wrote {GOLDEN} ({GOLDEN.stat().st_size} bytes)")
