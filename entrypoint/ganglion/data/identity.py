"""Which server a data directory belongs to."""

from pathlib import Path

from ganglion.data.paths import SIGNING_KEY_SUFFIX
from ganglion.errors import ConfigError, Problem
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings


def server_name(settings: Settings, operator: OperatorFiles) -> str:
    """The server name in force: that of the operator's files, else of the variable."""
    return str(operator.options.get("server_name", settings.server_name))


def check_name(settings: Settings, operator: OperatorFiles) -> None:
    """See that a database is not given another name than it was made for: Synapse would refuse it
    once it has users, and other homeservers would take us for somebody else before.
    """
    data, name = Path(settings.data), server_name(settings, operator)
    made = Path(settings.paths.postgres_version).exists() or Path(settings.paths.sqlite).exists()
    keys = sorted(
        path.name.removesuffix(SIGNING_KEY_SUFFIX) for path in data.glob(f"*{SIGNING_KEY_SUFFIX}")
    )
    if made and keys and name not in keys and settings.signing_key is None:
        raise ConfigError(
            [
                Problem(
                    variable="SYNAPSE_SERVER_NAME",
                    value=name,
                    message=f"is not the name of the server whose data is in {data}:"
                    f" {', '.join(keys)}",
                    hint=f"set it to {keys[0]}, or give another data directory",
                )
            ]
        )
