"""THE table of checks, in the order in which they are printed."""

from ganglion.doctor import configuration, federation, machine, postgres
from ganglion.doctor.finding import Check

CHECKS: tuple[Check, ...] = (
    *configuration.CHECKS,
    *machine.CHECKS,
    *federation.CHECKS,
    *postgres.CHECKS,
)
