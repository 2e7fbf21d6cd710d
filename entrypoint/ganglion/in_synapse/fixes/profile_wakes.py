"""Wake the long polls of a user in no room for changes of the user's own profile.

Synapse tells clients of such changes where `include_profile_updates_in_sync` is on. The process
that changes the profile wakes the user if there is no room to wake. All other processes wake only
rooms.
"""

from typing import Any

from synapse.replication.tcp.client import ReplicationDataHandler
from synapse.replication.tcp.streams._base import ProfileUpdatesStream
from synapse.types import StreamKeyType

from ganglion.in_synapse.fixes.source import digest

# It cured the process that changes the profile, and no other.
REFERENCE = "https://github.com/element-hq/synapse/pull/20135"


def fits() -> bool:
    """Return whether replication still wakes only the rooms."""
    return digest(ReplicationDataHandler.on_rdata) == "bf34c19045f9269e"


def apply() -> None:
    """Wake the users themselves after their rooms."""
    handler: Any = ReplicationDataHandler
    original = handler.on_rdata

    async def on_rdata(
        self: Any, stream_name: str, instance_name: str, token: int, rows: list[Any]
    ) -> None:
        await original(self, stream_name, instance_name, token, rows)
        users = {row.user_id for row in rows} if stream_name == ProfileUpdatesStream.NAME else set()
        if users:
            self.notifier.on_new_event(StreamKeyType.PROFILE_UPDATES, token, users=users)

    handler.on_rdata = on_rdata
