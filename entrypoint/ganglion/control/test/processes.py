"""Stop, start, pause and slow down Synapse's processes."""

import threading
from collections.abc import Mapping, Sequence

from ganglion.control.config import ControlConfig
from ganglion.control.refusal import Refusal
from ganglion.control.test.json_lines import GRACE, ask, ask_all

ACTIONS = ("pause", "resume", "kill", "restart")
# In seconds. Processes end at once after SIGKILL; after SIGTERM the supervisor waits three seconds
# and then sends SIGKILL. READY_WITHIN is the time until they are ready again.
DEAD_WITHIN = 10.0
READY_WITHIN = 120.0
AGENT_WITHIN = 5.0


class Processes:
    """All of Synapse's processes. Changes to them are made one after the other."""

    def __init__(self, config: ControlConfig) -> None:
        self._config = config
        # A reset holds this lock, so that no other request starts the processes that it ended.
        self.lock = threading.RLock()

    @property
    def names(self) -> tuple[str, ...]:
        """Main and every worker."""
        return tuple(self._config.agents)

    def act(self, name: str, action: str) -> None:
        """Apply one of ACTIONS to a process."""
        self._check(name)
        with self.lock:
            if action == "restart":
                self.hold([name], "TERM")
                self.release([name])
            else:
                self._command({"do": action, "names": [name]}, DEAD_WITHIN)

    def hold(self, names: Sequence[str], signal: str) -> None:
        """End processes and keep them from starting. Returns when all have ended."""
        self._command({"do": "hold", "names": list(names), "signal": signal}, DEAD_WITHIN)

    def release(self, names: Sequence[str]) -> None:
        """Let processes start as at boot. Returns when all are ready."""
        self._command({"do": "release", "names": list(names)}, READY_WITHIN)

    def slow(self, name: str, delay: int) -> None:
        """Delay each request to a process by so many milliseconds."""
        self._check(name)
        request = {"do": "slow", "milliseconds": delay}
        ask(self._config.agents[name], name, request, AGENT_WITHIN)

    def delay_replication(self, delay: int) -> None:
        """Delay the Redis messages to every process by so many milliseconds."""
        request = {"do": "delay", "milliseconds": delay}
        ask_all(self._config.agents, dict.fromkeys(self.names, request), AGENT_WITHIN)

    def _check(self, name: str) -> None:
        if name not in self._config.agents:
            raise Refusal(404, f"unknown worker {name!r}; use one of {', '.join(self.names)}")

    def _command(self, request: Mapping[str, object], within: float) -> None:
        ask(self._config.supervisor, "the supervisor", request, within + GRACE)
