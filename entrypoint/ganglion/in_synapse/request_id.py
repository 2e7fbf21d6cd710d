"""Give a request's ID to the process that works for it: in requests between Synapse's processes.

nginx gives each request an ID, which Synapse logs (`request_id_header`). Without this module, each
further process would log a number of its own.
"""

import re
from collections.abc import Mapping
from typing import Any

from synapse.http import client
from synapse.logging.context import current_context
from twisted.web.http_headers import Headers

# The variable of a process with the name of the header, and the name without it.
VARIABLE = "GANGLION_REQUEST_ID_HEADER"
HEADER = "X-Request-ID"
# Synapse's name of a request: its method and its ID. Its own numbers are shorter.
_NAME = re.compile(r"[A-Z]+-([A-Za-z0-9._-]{8,64})")


def prepare(environment: Mapping[str, str]) -> None:
    """Have the process pass the ID on."""
    header = environment.get(VARIABLE, HEADER)
    sender: Any = client.ReplicationClient
    request = sender.request

    async def with_id(
        self: Any, method: str, uri: str, data: bytes | None = None, headers: Any = None
    ) -> Any:
        found = current_id()
        if found is not None:
            headers = Headers() if headers is None else headers.copy()
            headers.setRawHeaders(header, [found])
        return await request(self, method, uri, data, headers)

    sender.request = with_id


def current_id() -> str | None:
    """Return the ID of the request that this is work for; None if it has none from nginx."""
    request = current_context().request
    match = None if request is None else _NAME.fullmatch(request.request_id)
    return match[1] if match else None
