"""The board as one JSON file: `board/current.json`.

Owns: that file. Written aside and renamed over, so that a reader sees the old or the new one, whole, and takes no
lock. Never fsynced: after a crash an older board expires, and the pipeline writes a new one when it starts.
"""

from pathlib import Path

import msgspec

from waypost.errors import WaypostError
from waypost.ports.board import FORM, Board
from waypost.telemetry.log import logger

BYTES_MAX = 64 << 20
_decode = msgspec.json.Decoder(Board).decode
_encode = msgspec.json.Encoder().encode
_log = logger("board")


class FileBoard:
    """Writer and reader (`ports.board`); a process uses one side of it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None  # what the file's status was at the last look

    def publish(self, board: Board) -> None:
        """See the port."""
        aside = self._file.with_name(f".{self._file.name}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(_encode(board))
            aside.rename(self._file)
        except OSError as error:
            raise WaypostError("data_unwritable", str(error), place=str(self._file)) from error

    def look(self) -> Board | None:
        """See the port."""
        try:
            status = self._file.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen == self._seen or status.st_size > BYTES_MAX:
                return None
            self._seen = seen
            board = _decode(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.error("board_unreadable", file=str(self._file), error=str(error))
            return None
        return board if board.form == FORM else None
