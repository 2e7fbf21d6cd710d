"""The time of a reset, compared with starting a new server."""

import argparse
import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator, Sequence

from benchmarks import results, servers
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.variants import Variant
from tests import harness

LAYOUTS = ("small", "complement")
FRESH, FIRST, RESET, HURRIED = "start afresh", "first reset", "later resets", "at once again"
NOTE = (
    "Start afresh: from `docker run` (without Docker: from starting the program over an empty "
    "directory) until all of Synapse's processes, nginx and the control application answer, as "
    "with `scripts/bench start`. Resets: from sending `POST /test/reset` until it is answered, "
    "which is when every process has said that it is ready; between two of them ten users are made "
    "and the next clean database has a second to be copied. At once again: the next reset follows "
    "the one before without that second. The first reset without Docker, where no prepared "
    "database is brought, has Synapse make its tables. Removing the old container is not counted."
)


class Controlled:
    """A server in test mode, in Docker or without."""

    def __init__(self, layout: str, options: argparse.Namespace) -> None:
        self.port = harness.free_port()
        self.variables = {"WORKERS": layout, "GANGLION_TEST_MODE": "yes"}
        if options.native:
            self.variables["CONTROL_PORT"] = str(self.port)
        self._server: servers.Native | servers.Ours = (
            servers.Native(Variant(label=layout, variables=self.variables))
            if options.native
            else Ours(layout, self.variables, str(options.image), self.port)
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[float]:
        """Started afresh, for how many seconds; gone with its data afterwards."""
        began = time.monotonic()
        with self._server:
            self._server.start()
            while not self._there():
                time.sleep(servers.BETWEEN_LOOKS)
            yield time.monotonic() - began
            self._server.stop()

    def _there(self) -> bool:
        try:
            self.ask("/test/barrier")
        except OSError:
            return False
        return True

    def ask(self, path: str, **body: int) -> None:
        """Ask for a control, which must do well."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
            answer.read()

    def reset(self) -> float:
        """Reset it; how many seconds that took."""
        began = time.monotonic()
        self.ask("/test/reset")
        return time.monotonic() - began


class Ours(servers.Ours):
    """A container whose control port can be reached too."""

    def __init__(self, layout: str, variables: dict[str, str], image: str, port: int) -> None:
        variant = Variant(label=layout, variables={**variables, "CONTROL_BIND_ADDRESS": "*"})
        super().__init__(variant, image, quick=False, beside=False)
        self._words = ["--publish", f"127.0.0.1:{port}:9469", *self._words]


def measure(options: argparse.Namespace, session: Session) -> None:
    """Each layout in every round: start it, then reset it again and again."""
    table = session.add(Table(title="Until all answer, on a clean server", unit="seconds"))
    for _ in range(options.rounds):
        for layout in options.workers or LAYOUTS:
            server = Controlled(layout, options)
            with server.running() as seconds:
                table.add(layout, FRESH, seconds)
                time.sleep(1)
                table.add(layout, FIRST, server.reset())
                for column, pause in ((RESET, 1.0), (HURRIED, 0.0)):
                    server.ask("/test/users", count=10)
                    time.sleep(pause)
                    table.add(layout, column, server.reset())


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench reset", description=__doc__)
    parser.add_argument(
        "--workers", action="append", metavar="WORKERS", help="a layout; may be repeated"
    )
    servers.add_arguments(parser, peer=False)
    results.add_arguments(parser, rounds=3)
    options = parser.parse_args(words)
    session = Session("reset", options, words, servers.images(options))
    measure(options, session)
    deliver(session.result("Time to reset", NOTE), options)
    return 0
