"""The logging configuration of each Synapse process."""

from typing import Any

from ganglion.settings.logs import JSON
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Process

# In bytes: the size of a log file, of which a process has MOST_FILES before the one in use.
MOST_IN_FILE, MOST_FILES = 25 * 1024**2, 3
LOG_FORMAT = "%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"


def log_config(settings: Settings, process: str) -> str:
    """The path of a process's logging configuration."""
    return settings.paths.conf_file(f"synapse/log/{process}.yaml")


def role(process: Process) -> str:
    """The roles of a process with + between them, as the log has them."""
    return process.name if process.is_main else "+".join(process.roles)


def _loggers(settings: Settings) -> dict[str, Any]:
    """Loggers whose level is their own."""
    found: dict[str, Any] = {}
    if not settings.log_sensitive:
        # At DEBUG Synapse would log every SQL statement with its values, passwords included.
        found["synapse.storage.SQL"] = {"level": "INFO"}
    if settings.log_testing:
        # Which events were left out of an answer, and why; not the hundred steps of a new schema.
        found["synapse.visibility.filtered_event_debug"] = {"level": "DEBUG"}
        found["synapse.storage.prepare_database"] = {"level": "WARNING"}
    return found


def logging(settings: Settings, process: Process) -> dict[str, Any]:
    """The logging configuration of a process, as Python's logging.config takes it."""
    formatters: dict[str, Any] = {
        "precise": {"()": "ganglion.in_synapse.log_format.Formatter", "format": LOG_FORMAT}
    }
    handlers: dict[str, Any] = {
        "console": {
            "class": "ganglion.in_synapse.log_handler.GatheringHandler",
            "formatter": "precise",
        }
    }
    if settings.logs_to_disk:
        handlers["file"] = {
            "class": "ganglion.in_synapse.log_file.RotatingFile",
            "formatter": "file",
            "filename": settings.paths.log_file(process.name),
            "most": MOST_IN_FILE,
            "kept": MOST_FILES,
        }
        formatters["file"] = {
            "()": "ganglion.in_synapse.log_format.FileFormatter",
            "text": LOG_FORMAT,
            **(
                {"process": process.name, "role": role(process)}
                if settings.log_format == JSON
                else {}
            ),
        }
    return {
        "version": 1,
        "formatters": formatters,
        "handlers": handlers,
        "loggers": _loggers(settings),
        "root": {"level": settings.log_level, "handlers": list(handlers)},
        "disable_existing_loggers": False,
    }
