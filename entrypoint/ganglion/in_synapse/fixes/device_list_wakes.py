"""Wake a user's long polls for every change of their device list, in each process.

The process that writes the stream of device lists wakes the user who made the change. All other
processes wake only the rooms of a changed device. So two changes wake no long poll of a worker: a
signature of another user's key, which has no rooms, and a change by a user who is in no room. The
client sees them when something else happens.
"""

from typing import Any

from synapse.replication.tcp.client import ReplicationDataHandler
from synapse.replication.tcp.streams import DeviceListsStream
from synapse.types import StreamKeyType

from ganglion.in_synapse.fixes.source import digest

# The change of devices is https://github.com/matrix-org/synapse/issues/11726
REFERENCE = "https://github.com/element-hq/synapse/pull/19831"


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
        if stream_name == DeviceListsStream.NAME:
            # A row whose hosts are calculated is for senders to other servers only.
            users = {row.user_id for row in rows if not row.hosts_calculated}
            if users:
                self.notifier.on_new_event(StreamKeyType.DEVICE_LIST, token, users=users)

    handler.on_rdata = on_rdata
