"""Let a thread that has fetched events from the database return at once.

Synapse fetches events in up to three threads of its pool, each with a connection. A thread that
finds no further request waits 0.4 s for one, with its connection. In a pool of two connections all
other work of the process waits meanwhile: measured with the preset `complement` and one client, a
room took 589 ms to create instead of 203. New requests start a thread again, which takes 0.1 ms.
"""

from typing import Any

from synapse.storage.databases.main.events_worker import EventsWorkerStore

from ganglion.in_synapse.fixes.source import digest

# It introduced the threads that wait.
REFERENCE = "https://github.com/matrix-org/synapse/pull/155"


def fits() -> bool:
    """Return whether threads wait, and the switch of Synapse's own tests ends that."""
    return (
        EventsWorkerStore.USE_DEDICATED_DB_THREADS_FOR_EVENT_FETCHING
        and digest(EventsWorkerStore._fetch_loop) == "e2a0434d35393ab2"
        and digest(EventsWorkerStore._fetch_thread) == "1ea0868b1195c2a6"
    )


def apply() -> None:
    """Turn the switch."""
    store: Any = EventsWorkerStore
    store.USE_DEDICATED_DB_THREADS_FOR_EVENT_FETCHING = False
