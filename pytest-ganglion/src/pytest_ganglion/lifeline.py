"""Runs a command that must not outlive whoever wants it.

It is given a pipe as standard input, and when that closes, because its holder closed it or because
he is gone in whatever way, it ends the command and clears up. A program of its own, run by its
path: it must not need anything but Python.

    python -I lifeline.py '{"command": ["…"], "finally": [["…"]], "remove": ["…"]}'
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

# In seconds, from SIGTERM to SIGKILL. Ganglion gives its processes 10.
STOP_WITHIN = 20.0


def main(specification: str) -> int:
    """Run a command to its end. Returns its exit status."""
    wanted = json.loads(specification)
    # Ctrl-C is for the one who holds the pipe; the server is then stopped in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        child = subprocess.Popen(
            wanted["command"], stdin=subprocess.DEVNULL, start_new_session=True
        )
        threading.Thread(target=_end_with_input, args=(child,), daemon=True).start()
        return child.wait()
    finally:
        for command in wanted.get("finally", []):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        for directory in wanted.get("remove", []):
            shutil.rmtree(directory, ignore_errors=True)


def _end_with_input(child: subprocess.Popen[bytes]) -> None:
    # Not through sys.stdin, whose lock this thread would still hold when Python ends.
    while os.read(sys.stdin.fileno(), 1):
        pass
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_WITHIN)
        return
    child.kill()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
