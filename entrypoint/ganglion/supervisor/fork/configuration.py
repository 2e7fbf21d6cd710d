"""The configuration that a Synapse process got ready with, to be given to it again.

The operator may change files while a server runs. A process that does not get ready with them is
started with the contents that it had before.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ganglion.machine.acting import acting_as
from ganglion.settings.reading import LARGEST_YAML, read_bytes
from ganglion.supervisor.fork.synapse_command import config_files

Contents = Mapping[str, bytes]


def read(command: Sequence[str], account: str | None) -> Contents:
    """Return the content of each configuration file that a command names, by its path.

    Not that of the last one, which is rendered and does not change: Synapse looks for others in its
    directory. Nor of one that cannot be read with the rights of `account`.
    """
    found: dict[str, bytes] = {}
    with acting_as(account):
        for path in config_files(command)[:-1]:
            with contextlib.suppress(OSError):
                found[path] = read_bytes(path, LARGEST_YAML)
    return found


def with_contents(command: Sequence[str], contents: Contents) -> list[str]:
    """Return the command with other files, which have these contents.

    They are in memory, and this process and the program that it executes can open them.
    """
    replaced: dict[str, str] = {}
    for path, content in contents.items():
        descriptor = os.memfd_create(Path(path).name, 0)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        replaced[path] = f"/proc/self/fd/{descriptor}"
    return [replaced.get(word, word) for word in command]
