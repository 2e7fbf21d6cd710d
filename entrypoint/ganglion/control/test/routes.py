"""The table of routes below /test/, and a handler for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from ganglion.control.application import Route
from ganglion.control.config import ControlConfig
from ganglion.control.refusal import Json, milliseconds, only
from ganglion.control.test.barrier import barrier
from ganglion.control.test.processes import ACTIONS, Processes
from ganglion.control.test.reset import Resets
from ganglion.control.test.users import make_users


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The objects that handlers share."""

    config: ControlConfig
    processes: Processes
    resets: Resets


def _reset(context: Context, _path: Mapping[str, str], body: Json) -> Json:
    only(body)
    return {"seconds": round(context.resets.reset(), 3)}


def _users(context: Context, _path: Mapping[str, str], body: Json) -> Json:
    return make_users(context.config, body)


def _barrier(context: Context, _path: Mapping[str, str], body: Json) -> Json:
    return barrier(context.config, body)


def _act(context: Context, path: Mapping[str, str], body: Json) -> Json:
    only(body)
    context.processes.act(path["name"], path["action"])
    return {"worker": path["name"], "action": path["action"]}


def _slow(context: Context, path: Mapping[str, str], body: Json) -> Json:
    only(body, "milliseconds")
    delay = milliseconds(body)
    context.processes.slow(path["name"], delay)
    return {"worker": path["name"], "milliseconds": delay}


def _delay(context: Context, _path: Mapping[str, str], body: Json) -> Json:
    only(body, "milliseconds")
    delay = milliseconds(body)
    context.processes.delay_replication(delay)
    return {"milliseconds": delay, "workers": list(context.config.agents)}


# All of them change something, so all are POST.
TEST_ROUTES: tuple[tuple[str, Callable[[Context, Mapping[str, str], Json], Json]], ...] = (
    (r"/test/reset", _reset),
    (r"/test/users", _users),
    (r"/test/barrier", _barrier),
    (rf"/test/workers/(?P<name>[^/]+)/(?P<action>{'|'.join(ACTIONS)})", _act),
    (r"/test/workers/(?P<name>[^/]+)/slow", _slow),
    (r"/test/replication/delay", _delay),
)


def routes(context: Context) -> tuple[Route, ...]:
    """Return the routes of TEST_ROUTES, with handlers that share `context`."""
    return tuple(
        Route(pattern=pattern, handler=partial(handler, context))
        for pattern, handler in TEST_ROUTES
    )


def routes_of_server(config: ControlConfig) -> tuple[Route, ...]:
    """Return the routes for a running server.

    Starts a thread that releases all processes, in case an earlier reset was cut off.
    """
    processes = Processes(config)
    resets = Resets(config, processes)
    return routes(Context(config=config, processes=processes, resets=resets))
