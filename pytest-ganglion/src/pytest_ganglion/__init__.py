"""A running Matrix homeserver for each test, clean: see README.md.

What a test names in its annotations is here.
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
