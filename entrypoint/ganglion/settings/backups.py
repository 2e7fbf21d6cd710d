"""The variables of scheduled backups."""

from dataclasses import dataclass

from ganglion.settings import parsers
from ganglion.settings.parts import PartSettings
from ganglion.settings.variable import row


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSettings(PartSettings):
    """The rows of Settings for scheduled backups."""

    backup_directory: str | None = row(
        "GANGLION_BACKUP",
        parsers.absolute_path,
        None,
        "A directory for scheduled backups, on another disk than the data if possible; see"
        " docs/backup.md.",
        shown_default="none are made",
    )
    backup_every: float = row(
        "GANGLION_BACKUP_EVERY",
        parsers.duration_of(1, 366 * 86400),
        86400.0,
        "How often a scheduled backup is made, such as 6h.",
        shown_default="1d",
    )
    backup_keep: int = row(
        "GANGLION_BACKUP_KEEP",
        parsers.whole_number(1, 1000),
        7,
        "How many scheduled backups are kept.",
    )
