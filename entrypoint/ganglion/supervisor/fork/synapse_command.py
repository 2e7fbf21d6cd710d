"""Read the command line of a Synapse process."""

from collections.abc import Sequence

MAIN_APP = "synapse.app.homeserver"
WORKER_APP = "synapse.app.generic_worker"
# Starts an application after applying the fixes of ganglion.in_synapse.fixes.
START = "ganglion.in_synapse.start"
APPS = (MAIN_APP, WORKER_APP)


def app_of(command: Sequence[str]) -> str | None:
    """Return the Synapse application that `PYTHON -m APP …` starts; None for another command."""
    if list(command[1:2]) == ["-m"] and command[2] in APPS:
        return command[2]
    return None


def fresh(command: Sequence[str]) -> list[str]:
    """Return the command that starts the same application with Synapse's faults mended."""
    return [*command[:2], START, *command[2:]]


def arguments_of(command: Sequence[str]) -> list[str]:
    """Return the arguments that a Synapse command gives its application."""
    return list(command[3:])


def config_files(command: Sequence[str]) -> tuple[str, ...]:
    """Return the files that a command names with --config-path, in their order."""
    words = list(command)
    return tuple(
        words[index + 1] for index, word in enumerate(words[:-1]) if word == "--config-path"
    )
