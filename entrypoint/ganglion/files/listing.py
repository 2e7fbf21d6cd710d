"""A directory that a person asked for: replaced only if it holds nothing but rendered files."""

import os
from collections.abc import Sequence
from errno import ENOTDIR
from pathlib import Path

from ganglion.files.file import File
from ganglion.settings.reading import LARGEST_FILE, read_text

# Names the rendered files beside it.
LISTING = ".rendered"


def listing(files: Sequence[File]) -> File:
    """The list of rendered files, for holds_nothing_else."""
    return File(path=LISTING, content="".join(f"{file.path}\n" for file in files))


def holds_nothing_else(directory: Path) -> bool:
    """Whether a directory may be replaced: nothing is in it but what a listing in it names.

    Raises OSError, and ValueError if the listing is not text.
    """
    if not directory.exists():
        return True
    if not directory.is_dir():
        raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), str(directory))
    listed = {LISTING}
    if (directory / LISTING).is_file():
        text = read_text(directory / LISTING, LARGEST_FILE)
        listed.update(text.splitlines())
    present = {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    return present <= listed
