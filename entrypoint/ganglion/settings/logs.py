"""The variables of logs."""

from dataclasses import dataclass

from ganglion.settings import parsers
from ganglion.settings.control import ControlSettings
from ganglion.settings.variable import row

JSON = "json"
# Which requests nginx logs.
ERRORS, ALL, NONE = "errors", "all", "none"

# In bytes: what `ganglion logs` may keep. All of it is the supervisor's memory.
MOST_MEMORY = 1024**3


def _memory(text: str) -> int:
    """Parse a size of at most MOST_MEMORY; 0 for none."""
    number = 0 if text.strip() == "0" else parsers.size(text)
    if number > MOST_MEMORY:
        raise parsers.Invalid("is more than 1G", "write a size of at most 1G, or 0")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings(ControlSettings):
    """The rows of Settings for logs."""

    log_level: str = row(
        "SYNAPSE_LOG_LEVEL", parsers.log_level, "INFO", "The log level of Synapse's processes."
    )
    log_format: str = row(
        "GANGLION_LOG_FORMAT",
        parsers.one_of("text", JSON),
        "text",
        "`text`, or `json` for one JSON object a line from every process; see docs/logs.md.",
        aliases=("LOG_FORMAT",),
    )
    access_log: str = row(
        "GANGLION_ACCESS_LOG",
        parsers.one_of(ERRORS, ALL, NONE),
        ERRORS,
        "Which requests nginx logs: `errors` for those with a status of 500 and above, `all` or"
        " `none`. Synapse logs each request that reached it.",
    )
    log_memory: int = row(
        "GANGLION_LOG_MEMORY",
        _memory,
        4 * 1024**2,
        "How much memory keeps the last lines of all processes for `ganglion logs`; `0` for none.",
        shown_default="4M",
    )
    logs_to_disk: bool = row(
        "SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK",
        parsers.boolean,
        False,
        "Whether each Synapse process also logs to its own file in DATA/logs, of which at most 100M"
        " are kept.",
    )
