"""Traffic of a real installation, replayed while it runs: it comes out the same, and another catalog is told apart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.catalog_text import DESIGN, changed
from support.installation import until
from support.waypost_process import WaypostProcess, of_event

pytestmark = pytest.mark.system


def waypost(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "waypost", *words], capture_output=True, text=True, timeout=60)


def test_replay_of_a_running_installation(tmp_path: Path) -> None:
    with WaypostProcess(tmp_path, DESIGN) as house:
        for nth in range(20):
            click = house.click("demo", sub1=f"s{nth}")
            goal = "install" if nth % 2 else "purchase"
            asked = house.postback(click_id=click, goal=goal, sum="10", token="s3cret", txn_id=f"t{nth}")
            assert asked.status == 200
        receipt = house.postback(click_id=click, goal="install", token="s3cret", txn_id="t19").json["receipt"]
        until(lambda: of_event(house.trace(receipt), "decision"), "the last call is judged")

        same = waypost("replay", "--data", str(house.data), "--format", "json")
        assert same.returncode == 0, same.stderr + same.stdout
        report = json.loads(same.stdout)
        assert (report["calls"], report["calls_same"], report["clicks"]) == (21, 21, 20)
        assert report["differences"] == [] and report["postbacks_same"] == report["postbacks_was"] == 10

        recording = tmp_path / "traffic.recording"
        assert "21 calls" in waypost("record", "--data", str(house.data), "--out", str(recording)).stdout
        assert recording.stat().st_mode & 0o777 == 0o600, "it holds the key ring"

        new = tmp_path / "new.yaml"
        new.write_text(changed("payout: 1.20 USD", "payout: 1.50 USD"))
        other = waypost("replay", "--recording", str(recording), "--catalog", str(new))
        assert other.returncode == 0, other.stderr
        assert "payout     42.00 USD → 45.00 USD" in other.stdout
        assert "11 ×   money: offer acme-vpn, goal install, partner geozo, of payout" in other.stdout
        assert "money=1.50" in other.stdout
        assert house.status()["catalog"] == 1, "the installation did not notice"

        wrong = waypost("replay", "--data", str(house.data), "--from", "yesterday")
        assert wrong.returncode == 2 and "'yesterday' is no time" in wrong.stderr
        late = waypost("replay", "--data", str(house.data), "--from", "2999-01-01")
        assert late.returncode == 1 and "[recording_empty]" in late.stderr
