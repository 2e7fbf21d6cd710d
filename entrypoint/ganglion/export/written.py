"""Write exported files: all or none, and never over a file that a person made or changed."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from ganglion.files.file import PUBLIC, File
from ganglion.files.listing import holds_nothing_else, listing
from ganglion.files.write import write_directory, write_file
from ganglion.settings.reading import LARGEST_FILE, impossible, read_text

# The last line of an exported file: the checksum of all lines above.
SEAL = "# unchanged: "


def write(path: Path, files: Sequence[File], *, directory: bool) -> str | None:
    """Write one file, or a directory of files. Return why they cannot be written, if so."""
    reason = impossible(str(path))
    if reason:
        return reason
    try:
        place = path.resolve()
        if directory:
            return _write_directory(place, files)
        (file,) = files
        return _write_file(place, file)
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    # Links in a circle; a file that is not text.
    except (RuntimeError, ValueError) as error:
        return f"cannot be written: {error}"


def sealed(text: str) -> str:
    """Return a text with its checksum in a comment at the end."""
    return f"{text}{SEAL}{_sum(text)}\n"


def is_sealed(text: str) -> bool:
    """Return whether a text is as it was exported."""
    body, found, _ = text.rpartition(SEAL)
    return bool(found) and sealed(body) == text


def _sum(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def _write_file(place: Path, file: File) -> str | None:
    if place.exists() and not is_sealed(read_text(place, LARGEST_FILE)):
        return "is not an export, or was changed since, and would be lost"
    write_file(place, sealed(file.content), PUBLIC, None)
    return None


def _write_directory(place: Path, files: Sequence[File]) -> str | None:
    if not holds_nothing_else(place):
        return "holds other files, which would be lost"
    texts = [place / file.path for file in files if (place / file.path).is_file()]
    changed = [path.name for path in texts if not is_sealed(read_text(path, LARGEST_FILE))]
    if changed:
        return f"has files that were changed since the last export: {', '.join(changed)}"
    done = [
        File(path=file.path, content=sealed(file.content), mode=file.mode, program=file.program)
        for file in files
    ]
    write_directory(place, (*done, listing(done)), {})
    return None
