"""The variables of logs."""

from dataclasses import dataclass

from ganglion.settings import parsers
from ganglion.settings.control import ControlSettings
from ganglion.settings.variable import row

JSON = "json"


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
    log_memory: int = row(
        "GANGLION_LOG_MEMORY",
        parsers.size,
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
