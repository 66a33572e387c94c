"""Where everything stands in a data folder.

Owns: the names of files and folders below `--data`. Reads and writes nothing itself.
Never names a path outside the data folder.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths below one data folder."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by `waypost run` for as long as it lives."""
        return self.root / "lock"

    @property
    def keys(self) -> Path:
        """Click-id key ring and operator's key; readable by the owner only."""
        return self.root / "keys"

    @property
    def key_ring(self) -> Path:
        return self.keys / "click-ids.json"

    @property
    def visitor_keys(self) -> Path:
        """Keys of today and tomorrow under which visitors are told apart; not to be backed up."""
        return self.keys / "visitors.json"

    @property
    def operator_key(self) -> Path:
        return self.keys / "operator.key"

    @property
    def journals(self) -> Path:
        """One folder a journal: `door-0`, `courier-0`, `operator`."""
        return self.root / "journal"

    def journal(self, source: str) -> Path:
        return self.journals / source

    @property
    def positions(self) -> Path:
        """Readers' published positions: `READER/SOURCE`."""
        return self.root / "positions"

    @property
    def clicks(self) -> Path:
        return self.root / "clicks"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger" / "ledger.db"

    @property
    def lanes(self) -> Path:
        return self.root / "lanes"

    def lane_shard(self, shard: int, deal: int = 0) -> Path:
        """A shard's file; lanes that were dealt anew stand in a folder of their deal."""
        return (self.lanes / f"deal-{deal}" if deal else self.lanes) / f"shard-{shard}.db"

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def catalog(self) -> Path:
        """`versions/N.db`, `numbers.db`, `current`."""
        return self.root / "catalog"

    @property
    def board(self) -> Path:
        """What the pipeline tells doors of caps; a hint, replaced whole."""
        return self.root / "board" / "current.json"

    @property
    def refusals(self) -> Path:
        """Bounded logs of what the doors refused, one file a door."""
        return self.root / "refusals"

    @property
    def geo(self) -> Path:
        """Copies of the geo files in use: the operator's may be written over while doors have them mapped."""
        return self.root / "geo"

    @property
    def run(self) -> Path:
        """What living processes publish: `ROLE.json` snapshots, pids."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def settings(self) -> Path:
        """Optional: an operator's settings over the shipped defaults."""
        return self.root / "settings.toml"
