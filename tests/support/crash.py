"""Running a piece of code in a child process and killing it with SIGKILL at a place of its own choosing."""

import os
import signal
import traceback
from collections.abc import Callable


def run_and_kill(work: Callable[[Callable[[], None]], None]) -> None:
    """Runs `work(die)` in a fork; `die()` kills it at once. Fails if the child ended by itself."""
    child = os.fork()
    if child == 0:
        try:
            work(lambda: os.kill(os.getpid(), signal.SIGKILL))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"the child ended with {status}"
