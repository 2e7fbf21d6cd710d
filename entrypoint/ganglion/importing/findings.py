"""The files of an old installation, and the fate of each of their options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any


class Fate(Enum):
    """How an option of the old installation lives on."""

    TAKEN = "taken"
    REPLACED = "replaced"
    DROPPED = "dropped"
    UNKNOWN = "not understood"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One option of one file, its fate, and where it went or why it is gone."""

    source: str
    key: str
    fate: Fate
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OldFile:
    """A YAML file of the old installation: its path and its options."""

    path: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldServer:
    """The files of an old installation.

    `shared` are in the order in which Synapse reads them. `variables` are those of containers.
    `roots` maps a path in the old container to the directory that it was mounted from.
    """

    shared: tuple[OldFile, ...] = ()
    workers: tuple[OldFile, ...] = ()
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    roots: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The options of all shared files. A later file overrides an earlier one, key by key."""
        merged: dict[str, Any] = {}
        for file in self.shared:
            merged.update(file.options)
        return merged

    @property
    def sources(self) -> dict[str, str]:
        """The file that set each shared option last."""
        return {key: file.path for file in self.shared for key in file.options}


@dataclass(frozen=True, slots=True, kw_only=True)
class OldWorker:
    """A worker of the old installation, with its roles in Ganglion's words."""

    name: str
    source: str
    roles: tuple[str, ...]
