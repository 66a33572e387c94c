"""Tiny role commands for tests of the supervisor: real processes that note what happens to them.

Each appends lines `NAME EVENT` to a journal file of the test and publishes a snapshot like a real role.
"""

import sys
from pathlib import Path

_SCRIPT = """
import fcntl, json, os, signal, socket, sys, time
name, events, run, behaviour, number = sys.argv[1:6]
def note(event):
    with open(events, "a") as file:
        file.write(f"{name} {event}\\n")
stopping = False
def stop(*_):
    global stopping
    stopping = True
    note("term")
signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "stubborn" else stop)
standby = int(os.environ.get("WAYPOST_STANDBY_FD", "0"))
if standby:
    note("standby")
    if behaviour == "door, no successor":
        sys.exit("no successor today")
    os.write(standby, b"ready")
lock = open(os.path.join(run, name + ".lock"), "w")
fcntl.flock(lock, fcntl.LOCK_EX)
note(f"start {os.getpid()}")
with open(os.path.join(run, name + ".json.tmp"), "w") as file:
    json.dump({"role": name, "pid": os.getpid(), "at_ms": 0, "values": {}, "details": {}}, file)
os.replace(os.path.join(run, name + ".json.tmp"), os.path.join(run, name + ".json"))
if behaviour == "dies":
    sys.exit(3)
listener = socket.socket(fileno=int(number)) if "door" in behaviour else None
if listener:
    listener.settimeout(0.02)
while not stopping:
    if listener is None:
        signal.sigtimedwait([], 0.02)
        continue
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    with connection:
        connection.settimeout(5)
        connection.recv(64)
        connection.sendall(str(os.getpid()).encode())
note("end")
"""


def fake_role(name: str, events: Path, run: Path, behaviour: str = "lives", fd: int = 0) -> tuple[str, ...]:
    """The command of a role that `lives`, `dies` at once, is `stubborn` about SIGTERM, or is a `door` on `fd`.

    Like a real role it is ready as a successor, and then waits for the lock; `door, no successor` ends instead.
    """
    return (sys.executable, "-S", "-c", _SCRIPT, name, str(events), str(run), behaviour, str(fd))
