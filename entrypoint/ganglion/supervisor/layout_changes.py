"""Changes of the layout in the supervisor: one at a time, and no other command meanwhile."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganglion.supervisor.change_request import Places, Request, obstacle
from ganglion.supervisor.changing import Changing
from ganglion.supervisor.command_socket import Pending, Verb, refused
from ganglion.supervisor.program import GatedProcess

# In seconds: how often the supervisor looks, while a change is under way.
EVERY = 0.02


class LayoutChanges:
    """Takes the command `apply`, and carries it out in the loop of `daemon`."""

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon
        self._options = daemon.options
        self.current: Changing | None = None
        self._options.poller = Poller(self._options.poller, lambda: EVERY if self.current else None)

    def verbs(self, verbs: Mapping[str, Verb]) -> dict[str, Verb]:
        """Return the commands with `apply`. All are refused while the layout changes."""
        if self._options.applied is not None:
            verbs = {**verbs, "apply": self._begin}
        return {name: self._alone(verb) for name, verb in verbs.items()}

    def go_on(self) -> None:
        """Go on with the change under way, if there is one. Call it in each turn of the loop."""
        if self.current is None:
            return
        self.current.advance()
        if self.current.result is not None:
            self.current = None
            if self._daemon.commands is not None:
                self._daemon.commands.answer_finished()

    def _alone(self, verb: Verb) -> Verb:
        def alone(programs: list[GatedProcess], request: Mapping[str, Any]) -> Pending:
            if self.current is not None:
                return refused("the layout is being changed; wait until that has ended")
            return verb(programs, request)

        return alone

    def _begin(self, _programs: list[GatedProcess], request: Mapping[str, Any]) -> Pending:
        """Begin a change. Finished when it is made, or undone."""
        conf = Path(self._options.configfile).parent
        places = Places(conf=conf, record=Path(self._options.applied))
        asked = Request.read(request)
        problem = obstacle(self._options.programs, conf)
        if not problem:
            try:
                places.take(keep=asked.keep)
            except OSError as error:
                problem = f"the new files cannot be taken: {error}"
        if problem:
            return refused(f"{problem}; nothing was changed")
        changing = self.current = Changing(self._daemon, asked, places)
        return lambda: changing.result


class Poller:
    """supervisord's poller, which waits for `longest` seconds at most; None for no limit."""

    def __init__(self, poller: Any, longest: Callable[[], float | None]) -> None:
        self._poller = poller
        self._longest = longest

    def poll(self, timeout: float) -> Any:
        """Return the readable and the writable descriptors."""
        longest = self._longest()
        return self._poller.poll(timeout if longest is None else min(timeout, longest))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)
