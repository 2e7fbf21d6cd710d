"""The directories that must exist before anything starts."""

from pathlib import Path

from ganglion.files.write import make_directory
from ganglion.machine.installed import Machine
from ganglion.programs import registry
from ganglion.settings.variables import Settings


def make_directories(settings: Settings, machine: Machine) -> None:
    """Make the directories of every service, each with its mode and owner, and the media store.

    The media store keeps its mode and owner if it exists.
    """
    for directory in registry.directories(settings):
        make_directory(
            Path(directory.path),
            directory.mode,
            machine.account(directory.service),
            group=machine.account(directory.entered_by),
        )
    media = Path(settings.paths.media_store)
    if not media.exists():
        make_directory(media, 0o750, machine.account("synapse"))
