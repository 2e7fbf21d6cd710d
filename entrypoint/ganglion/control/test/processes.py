"""Ending, starting, pausing and slowing Synapse's processes."""

import threading
from collections.abc import Mapping, Sequence

from ganglion.control.refusal import Refusal
from ganglion.control.test.json_lines import GRACE, ask, ask_all
from ganglion.control.test.place import Place

ACTIONS = ("pause", "resume", "kill", "restart")
# How long processes may take, in seconds: to be gone after SIGKILL, or after SIGTERM, which the
# supervisor backs by SIGKILL after three; and to be ready again.
DEAD_WITHIN = 10.0
READY_WITHIN = 120.0
AGENT_WITHIN = 5.0


class Processes:
    """All of Synapse's processes, of which one thing is done to at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        # Nobody is to start a process that a reset holds.
        self.lock = threading.RLock()

    @property
    def names(self) -> tuple[str, ...]:
        """Main and every worker."""
        return tuple(self._place.agents)

    def act(self, name: str, action: str) -> None:
        """Do one of ACTIONS."""
        self._known(name)
        with self.lock:
            if action == "restart":
                self.hold([name], "TERM")
                self.release([name])
            else:
                self._tell({"do": action, "names": [name]}, DEAD_WITHIN)

    def hold(self, names: Sequence[str], signal: str) -> None:
        """End processes, and keep them from starting; returns when all are gone."""
        self._tell({"do": "hold", "names": list(names), "signal": signal}, DEAD_WITHIN)

    def release(self, names: Sequence[str]) -> None:
        """Let processes start, as they do at boot; returns when all are ready."""
        self._tell({"do": "release", "names": list(names)}, READY_WITHIN)

    def slow(self, name: str, delay: int) -> None:
        """Have a process answer each request so many milliseconds later."""
        self._known(name)
        request = {"do": "slow", "milliseconds": delay}
        ask(self._place.agents[name], name, request, AGENT_WITHIN)

    def delay_replication(self, delay: int) -> None:
        """Have every process take in what comes over Redis so many milliseconds later."""
        request = {"do": "delay", "milliseconds": delay}
        ask_all(self._place.agents, dict.fromkeys(self.names, request), AGENT_WITHIN)

    def _known(self, name: str) -> None:
        if name not in self._place.agents:
            raise Refusal(404, f"there is no worker {name}; there are {', '.join(self.names)}")

    def _tell(self, request: Mapping[str, object], within: float) -> None:
        ask(self._place.supervisor, "the supervisor", request, within + GRACE)
