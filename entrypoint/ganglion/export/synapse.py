"""Synapse's files for a server that it reads as its own documentation has it.

homeserver.yaml is for all processes, with all of Ganglion's layers in it; each worker has a file of
its own, and each process a logging configuration.
"""

from collections.abc import Mapping
from typing import Any

from ganglion.files.file import SECRET, File
from ganglion.importing.duties import ROLES_OPTION
from ganglion.programs.program import Plan
from ganglion.programs.synapse import options
from ganglion.programs.synapse.options import as_yaml
from ganglion.topology.topology import Process

HOMESERVER = "homeserver.yaml"
HEADER = "# Made by `ganglion export`; export again when WORKERS or another variable changes.\n"
LOG_FORMAT = "%(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"


def worker_path(name: str) -> str:
    """The path of a worker's file below the directory of the configuration."""
    return f"workers/{name}.yaml"


def log_path(name: str) -> str:
    """The path of a process's logging configuration below the same directory."""
    return f"log/{name}.yaml"


def homeserver(plan: Plan) -> dict[str, Any]:
    """Return the options for all processes."""
    values = options.merged(plan)
    values["log_config"] = plan.settings.paths.conf_file(log_path(plan.topology.main.name))
    return values


def worker(plan: Plan, process: Process) -> dict[str, Any]:
    """Return the options of a worker's own file."""
    values = options.worker_options(plan, process)
    # Synapse ignores it. An import needs it: no other option says which requests a worker gets.
    values[ROLES_OPTION] = list(process.roles)
    values["worker_log_config"] = plan.settings.paths.conf_file(log_path(process.name))
    return values


def logging(plan: Plan, handler: Mapping[str, Any]) -> dict[str, Any]:
    """Return a logging configuration with one handler."""
    found: dict[str, Any] = {
        "version": 1,
        "formatters": {"precise": {"format": handler.get("format", LOG_FORMAT)}},
        "handlers": {
            "only": {
                "formatter": "precise",
                **{name: value for name, value in handler.items() if name != "format"},
            }
        },
        "root": {"level": plan.settings.log_level, "handlers": ["only"]},
        "disable_existing_loggers": False,
    }
    if not plan.settings.log_sensitive:
        # At DEBUG Synapse would log every SQL statement with its values, passwords included.
        found["loggers"] = {"synapse.storage.SQL": {"level": "INFO"}}
    return found


def yaml_file(path: str, values: Mapping[str, Any], *, secret: bool = False) -> File:
    """Return a YAML file. One that is `secret` is for its owner only."""
    content = HEADER + as_yaml(values)
    return (
        File(path=path, content=content, mode=SECRET)
        if secret
        else File(path=path, content=content)
    )
