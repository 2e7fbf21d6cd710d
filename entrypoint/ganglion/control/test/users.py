"""Create users with access tokens, as many as a test needs, in one call."""

from ganglion.control.config import ControlConfig
from ganglion.control.refusal import Json, only, text, truth, whole
from ganglion.control.test.json_lines import GRACE, ask
from ganglion.topology.names import MAIN

MOST = 10_000
# In seconds, for all users together. A user takes some 10 ms on a quiet machine.
WITHIN = 120.0


def make_users(config: ControlConfig, body: Json) -> Json:
    """Create users in main, which is the writer of users and devices."""
    only(body, "count", "prefix", "password", "admin")
    request = {
        "do": "users",
        "count": whole(body, "count", 1, MOST, 1),
        "prefix": text(body, "prefix", "user"),
        "password": text(body, "password", None),
        "admin": truth(body, "admin"),
    }
    return ask(config.agents[MAIN], MAIN, request, WITHIN + GRACE)
