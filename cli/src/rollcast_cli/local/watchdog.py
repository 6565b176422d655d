"""Ends the children when their parent died without doing so itself (SIGKILL, out of memory).

Run as a script with the standard library alone, so that it starts in a few milliseconds. It reads lines
`+PID` and `-PID` from its stdin; the end of the input means that the parent is gone. Unlike PR_SET_PDEATHSIG
this follows the process, not the thread that forked, works for any program, and beyond Linux.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 5.0


def _signal_leader(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def main() -> None:
    children: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            children.add(pid)
        else:
            children.discard(pid)
    # Leaders first and alone: a supervisor drains its own children.
    waiting = {pid for pid in children if _signal_leader(pid, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE_SECONDS
    while waiting and time.monotonic() < deadline:
        time.sleep(0.05)
        waiting = {pid for pid in waiting if _signal_leader(pid, 0)}
    for pid in children:
        _kill_group(pid)


if __name__ == "__main__":
    main()
