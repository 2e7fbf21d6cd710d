"""The files of a new data directory: options for homeserver.d, copies of keys, media and the rest.

Everything is found before anything is written. Paths in the old files may be those of a container;
`roots` of the old server says where its directories are here.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ganglion.data.file_access import Use, named_paths
from ganglion.data.paths import SIGNING_KEY_SUFFIX, Paths
from ganglion.errors import ConfigError, Problem
from ganglion.files.file import SECRET, File
from ganglion.importing.findings import OldServer
from ganglion.importing.imported import Imported
from ganglion.importing.looking import exists, is_directory, is_file
from ganglion.importing.report import OPTIONS_FILE
from ganglion.programs.synapse.options import as_yaml

VARIABLES_FILE = "imported.env"
FILES = "imported"
HEADER = """\
# Written once by `ganglion import` from another installation, and never again: it is yours.
"""
# The default of media_store_path, beside homeserver.yaml.
MEDIA = "media_store"
# The files in which Synapse's image keeps secrets that it generated: docker/start.py.
IMAGE_SECRETS = ("registration", "macaroon", "form")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file or a directory of the old installation, and its place in the new data directory."""

    source: Path
    target: str
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All entries of the new data directory, and remarks."""

    files: tuple[File, ...]
    copies: tuple[Copy, ...]
    notes: tuple[str, ...]


def plan(server: OldServer, found: Imported, seen_as: str) -> Layout:
    """Find everything that belongs into the data directory, which the new server has as `seen_as`.

    Raises ConfigError with every file that is named and is not there.
    """
    problems: list[Problem] = []
    copies: list[Copy] = []
    notes: list[str] = []
    options = server.options
    copies.extend(_signing_key(server, found, problems))
    copies.extend(_image_secrets(server, found))
    media = options.get("media_store_path")
    store = locate(server, str(media or MEDIA))
    if store is not None and is_directory(store):
        copies.append(Copy(source=store, target=MEDIA))
    elif media:
        problems.append(_missing(server, "media_store_path", str(media), "its directory"))
    else:
        notes.append("there is no media store beside homeserver.yaml, so no media are copied")
    copies.extend(_registrations(server, problems))
    kept, rest = _named(server, found.kept, seen_as, problems, notes)
    copies.extend(rest)
    if problems:
        raise ConfigError(problems)
    files = [File(path=VARIABLES_FILE, content=_variables(found), mode=SECRET)]
    if kept:
        files.append(File(path=OPTIONS_FILE, content=HEADER + as_yaml(kept), mode=SECRET))
    return Layout(files=tuple(files), copies=tuple(copies), notes=tuple(notes))


def _variables(found: Imported) -> str:
    """The variables in the form of `docker run --env-file`."""
    return "".join(f"{name}={value}\n" for name, value in found.variables.items())


def locate(server: OldServer, path: str) -> Path | None:
    """Return where a path of the old installation is. None if it is nowhere."""
    # The mount of a container first: the same path may exist on this machine with other content.
    inside = PurePosixPath(path)
    candidates = [
        Path(here, inside.relative_to(root))
        for root, here in sorted(server.roots, key=lambda item: len(item[0]), reverse=True)
        if inside.is_relative_to(root)
    ]
    candidates.append(Path(path))
    if not inside.is_absolute():
        candidates = [Path(here, path) for _, here in server.roots]
    else:
        # A directory that is mounted elsewhere than it was: the longest end of the path counts.
        parts = inside.parts[1:]
        candidates += [
            Path(here, *parts[start:]) for start in range(1, len(parts)) for _, here in server.roots
        ]
    return next((found for found in candidates if exists(found)), None)


def _signing_key(server: OldServer, found: Imported, problems: list[Problem]) -> Iterator[Copy]:
    if "signing_key" in server.options:
        return
    name = f"{found.server_name}{SIGNING_KEY_SUFFIX}"
    path = server.options.get("signing_key_path")
    here = locate(server, str(path or name))
    if here is None:
        problems.append(_missing(server, "signing_key_path", str(path or name), "the signing key"))
    else:
        target = PurePosixPath(Paths(data="/", run="/").signing_key(found.server_name)).name
        yield Copy(source=here, target=target, secret=True)


def _image_secrets(server: OldServer, found: Imported) -> Iterator[Copy]:
    for kind in IMAGE_SECRETS:
        name = f"{found.server_name}.{kind}.key"
        here = locate(server, name)
        if here is not None and is_file(here):
            yield Copy(source=here, target=name, secret=True)


def _registrations(server: OldServer, problems: list[Problem]) -> Iterator[Copy]:
    listed = server.options.get("app_service_config_files")
    taken: set[str] = set()
    for path in listed if isinstance(listed, list) else ():
        here = locate(server, str(path))
        if here is None:
            problems.append(_missing(server, "app_service_config_files", str(path), "the file"))
            continue
        name = _free(f"{here.stem}.yaml", taken)
        yield Copy(source=here, target=f"appservices/{name}", secret=True)


def _free(name: str, taken: set[str]) -> str:
    stem, dot, suffix = name.rpartition(".")
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{stem or suffix}-{number}{dot}{suffix if stem else ''}"
    taken.add(found)
    return found


def _named(
    server: OldServer,
    kept: Mapping[str, Any],
    seen_as: str,
    problems: list[Problem],
    notes: list[str],
) -> tuple[dict[str, Any], list[Copy]]:
    """Copy the files that the options name, and return the options with their new paths."""
    taken: set[str] = set()
    moved: dict[str, str] = {}
    copies: list[Copy] = []
    for named in named_paths(kept):
        path = named.path
        if named.use is Use.WRITE_DIRECTORY:
            notes.append(f"{named.option} stays {path}: mount or move that directory yourself")
            continue
        if path in moved:
            continue
        # named_paths() makes a relative path absolute here, and it is one of the old server's.
        here = locate(server, path) or locate(server, os.path.relpath(path))
        if here is None and named.use is Use.MADE_FILE:
            continue
        if here is None:
            problems.append(_missing(server, named.option, path, "the file"))
            continue
        target = f"{FILES}/{_free(here.name, taken)}"
        moved[path] = f"{seen_as}/{target}"
        copies.append(Copy(source=here, target=target, secret=True))
    return dict(_replaced(kept, moved)), copies


def _replaced(value: Any, moved: Mapping[str, str]) -> Any:  # noqa: ANN401 - any YAML
    """Replace each text that is a path which moves."""
    if isinstance(value, Mapping):
        return {key: _replaced(item, moved) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, moved) for item in value]
    if isinstance(value, str):
        return moved.get(value, moved.get(os.path.abspath(value), value))  # noqa: PTH100 - as text
    return value


def _missing(server: OldServer, option: str, path: str, what: str) -> Problem:
    where = server.sources.get(option.partition(".")[0], server.shared[0].path)
    return Problem(
        variable=where,
        value=None,
        message=f"names {path} in {option}, and {what} is not there",
        hint="give PATH with all directories of the old server, or correct the option",
    )
