"""The header in which each process of Synapse finds the ID that nginx gave a request."""

import re

from ganglion.settings import operator_listeners
from ganglion.settings.operator_files import OperatorFiles

# The same as HEADER of in_synapse.request_id, which imports nothing of Ganglion.
REQUEST_ID_HEADER = "X-Request-ID"
# A header that nginx may set: none that has another meaning.
FREE_HEADER = re.compile(
    r"(?!(accept|authorization|connection|content|cookie|date|expect|forwarded|host|if|origin|range"
    r"|server|te|transfer|upgrade|user|via|x-forwarded|x-ganglion|x-real)(-|\Z))[a-z][a-z0-9-]{0,63}",
    re.IGNORECASE,
)


def request_id_header(operator: OperatorFiles) -> str:
    """Return the header in which nginx gives a request its ID: the operator's or the usual one."""
    given = operator_listeners.read(operator.options).request_id_header or ""
    return given if FREE_HEADER.fullmatch(given) else REQUEST_ID_HEADER
