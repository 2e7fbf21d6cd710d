"""A running, clean Matrix homeserver for each test: see README.md.

This module exports the names that a test uses in its annotations.
"""

from pytest_ganglion.api import PIN, Ganglion, User, Worker
from pytest_ganglion.errors import GanglionError, NoServer, Refused, Unreachable

__all__ = [
    "PIN",
    "Ganglion",
    "GanglionError",
    "NoServer",
    "Refused",
    "Unreachable",
    "User",
    "Worker",
]
__version__ = "0.1.0"
