"""Users with tokens, as many as a test wants, in one call."""

from ganglion.control.refusal import Json, only, text, truth, whole
from ganglion.control.test.json_lines import GRACE, ask
from ganglion.control.test.place import Place
from ganglion.topology.topology import MAIN

MOST = 10_000
# A user takes some 10 ms; this many seconds are for all of them and for a busy machine.
WITHIN = 120.0


def make_users(place: Place, body: Json) -> Json:
    """Have main make them: it writes users and devices anyhow."""
    only(body, "count", "prefix", "password", "admin")
    request = {
        "do": "users",
        "count": whole(body, "count", 1, MOST, 1),
        "prefix": text(body, "prefix", "user"),
        "password": text(body, "password", None),
        "admin": truth(body, "admin"),
    }
    return ask(place.agents[MAIN], MAIN, request, WITHIN + GRACE)
