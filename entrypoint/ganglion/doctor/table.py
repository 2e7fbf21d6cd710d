"""THE table of checks, in the order in which they are printed."""

from ganglion.doctor import (
    backups,
    clients,
    configuration,
    content,
    destinations,
    disk,
    federation,
    indexes,
    machine,
    mail,
    postgres,
    previews,
    processes,
    replication,
    sequences,
    services,
    turn,
    versions,
)
from ganglion.doctor.finding import Check

CHECKS: tuple[Check, ...] = (
    *configuration.CHECKS,
    *versions.CHECKS,
    *processes.CHECKS,
    *machine.CHECKS,
    *replication.CHECKS,
    *disk.CHECKS,
    *backups.CHECKS,
    *federation.CHECKS,
    *clients.CHECKS,
    *postgres.CHECKS,
    *sequences.CHECKS,
    *indexes.CHECKS,
    *content.CHECKS,
    *destinations.CHECKS,
    *services.CHECKS,
    *previews.CHECKS,
    *turn.CHECKS,
    *mail.CHECKS,
)
