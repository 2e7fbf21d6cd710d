"""Runs a command that must not outlive its user.

Its standard input is a pipe. When the pipe closes, because its holder closed it or died, it ends
the command and cleans up. It is run by its path and needs Python alone.

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
    """Run a command to its end, and return its exit status."""
    wanted = json.loads(specification)
    # Ctrl-C is for the holder of the pipe, which then stops the server in an orderly way.
    # SIG_IGN would be inherited: a command without handlers of its own could then not be ended.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
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
    # Not sys.stdin: this thread would still hold its lock when Python ends.
    while os.read(sys.stdin.fileno(), 1):
        pass
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_WITHIN)
        return
    child.kill()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
