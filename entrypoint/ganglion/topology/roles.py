"""THE table of roles: every kind of work that a worker can take over from the main process.

Sources of each row: Synapse's workers guide (https://element-hq.github.io/synapse/latest/workers.html)
and, where that differs, synapse/config/workers.py of the installed Synapse.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The meaning of a role in Synapse."""

    GENERIC = "serves requests that any process could serve"
    STREAM = "writes a stream"
    JOB = "does background work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One kind of work."""

    name: str
    kind: Kind
    doc: str
    # The resources of its HTTP listener, by Synapse's names.
    resources: frozenset[str] = frozenset()
    # How many workers can have this role; None for any number.
    limit: int | None = None
    # The key of Synapse's `stream_writers` that lists its workers.
    stream: str | None = None
    # The key of Synapse's configuration that names its only worker.
    singleton_key: str | None = None
    # The key of Synapse's configuration that lists its workers.
    list_key: str | None = None
    # How many connections to PostgreSQL it can use at once. Each connection occupies a thread for
    # the length of a transaction: synapse/storage/database.py, runInteraction. Synapse's default
    # for a process with every role is 10.
    connections: int = 3
    # The weight of its caches when memory is divided. Roles that read events and room state gain
    # most from caches; a stream of small rows is read only once.
    caches: int = 1

    @property
    def only_reads(self) -> bool:
        """Whether workers with it may come and go, or run twice: no other process counts on one."""
        return self.kind is Kind.GENERIC and self.limit is None


CLIENT = frozenset({"client"})
FEDERATION = frozenset({"federation"})
MEDIA = frozenset({"client", "media"})

ROLES: tuple[Role, ...] = (
    Role(
        name="synchrotron",
        kind=Kind.GENERIC,
        doc="/sync, sliding sync and /events; each user always at the same worker",
        resources=CLIENT,
        connections=8,
        caches=6,
    ),
    Role(
        name="initial_synchrotron",
        kind=Kind.GENERIC,
        doc="the first, expensive /sync of a device, and /initialSync",
        resources=CLIENT,
        connections=8,
        caches=4,
    ),
    Role(
        name="client_reader",
        kind=Kind.GENERIC,
        doc="client reads: profiles, devices, keys, members, state, search, public rooms",
        resources=CLIENT,
        connections=6,
        caches=4,
    ),
    Role(
        name="event_creator",
        kind=Kind.GENERIC,
        doc="client writes to rooms: messages, state, joins, invites, new rooms",
        resources=CLIENT,
        connections=6,
        caches=5,
    ),
    Role(
        name="federation_reader",
        kind=Kind.GENERIC,
        doc="requests of other homeservers: events, state, joins, keys, public rooms",
        resources=FEDERATION,
        connections=5,
        caches=4,
    ),
    Role(
        name="federation_inbound",
        kind=Kind.GENERIC,
        doc="transactions from other homeservers; each homeserver always at the same worker",
        resources=FEDERATION,
        connections=6,
        caches=5,
    ),
    Role(
        name="login",
        kind=Kind.GENERIC,
        doc="registration and login, separate from other load",
        resources=CLIENT,
        connections=4,
    ),
    Role(
        name="room_reader",
        kind=Kind.GENERIC,
        doc="/messages, /context, threads, relations; each room always at the same worker",
        resources=CLIENT,
        connections=5,
        caches=4,
    ),
    # All requests of an SSO login share a session in memory: https://github.com/matrix-org/synapse/issues/9427
    Role(
        name="sso",
        kind=Kind.GENERIC,
        doc="login through SSO: OpenID Connect, SAML, CAS",
        resources=CLIENT,
        limit=1,
        connections=2,
    ),
    Role(
        name="frontend_proxy",
        kind=Kind.GENERIC,
        doc="uploads of end-to-end encryption keys",
        resources=CLIENT,
        connections=4,
    ),
    Role(
        name="event_persister",
        kind=Kind.STREAM,
        doc="writes events to the database; each worker writes those of some rooms",
        stream="events",
        connections=8,
        caches=6,
    ),
    # WorkerConfig.read_config raises for a second writer of a stream with `limit=1`.
    Role(
        name="typing",
        kind=Kind.STREAM,
        doc="typing notifications",
        resources=CLIENT,
        limit=1,
        stream="typing",
        connections=2,
    ),
    Role(
        name="to_device",
        kind=Kind.STREAM,
        doc="device-to-device messages",
        resources=CLIENT,
        limit=1,
        stream="to_device",
        connections=4,
    ),
    Role(
        name="account_data",
        kind=Kind.STREAM,
        doc="account data and room tags",
        resources=CLIENT,
        limit=1,
        stream="account_data",
    ),
    Role(
        name="receipts",
        kind=Kind.STREAM,
        doc="read receipts and markers",
        resources=CLIENT,
        stream="receipts",
        connections=4,
    ),
    Role(
        name="presence",
        kind=Kind.STREAM,
        doc="who is online",
        resources=CLIENT,
        limit=1,
        stream="presence",
    ),
    Role(
        name="push_rules",
        kind=Kind.STREAM,
        doc="changes to push rules",
        resources=CLIENT,
        limit=1,
        stream="push_rules",
        connections=2,
    ),
    Role(
        name="device_lists",
        kind=Kind.STREAM,
        doc="changes to devices and their keys",
        resources=CLIENT,
        stream="device_lists",
        connections=4,
        caches=2,
    ),
    Role(
        name="thread_subscriptions",
        kind=Kind.STREAM,
        doc="subscriptions to threads (MSC4306)",
        resources=CLIENT,
        stream="thread_subscriptions",
        connections=2,
    ),
    # RoomWorkerStore._insert_quarantine_changes_txn asserts that the process that quarantines media
    # is a writer. So workers with this role serve that part of the media administration API.
    Role(
        name="quarantined_media_changes",
        kind=Kind.STREAM,
        doc="quarantining media, with its administration API",
        resources=MEDIA,
        stream="quarantined_media_changes",
        connections=2,
    ),
    Role(
        name="background_worker",
        kind=Kind.JOB,
        doc="periodic tasks: clean-up, statistics, expiry",
        limit=1,
        singleton_key="run_background_tasks_on",
        connections=5,
    ),
    Role(
        name="user_dir",
        kind=Kind.JOB,
        doc="updates and searches the user directory",
        resources=CLIENT,
        limit=1,
        singleton_key="update_user_directory_from_worker",
        connections=4,
        caches=2,
    ),
    Role(
        name="appservice",
        kind=Kind.JOB,
        doc="sends events to application services",
        limit=1,
        singleton_key="notify_appservices_from_worker",
        connections=4,
        caches=2,
    ),
    Role(
        name="pusher",
        kind=Kind.JOB,
        doc="sends push notifications and email",
        list_key="pusher_instances",
        connections=4,
        caches=3,
    ),
    Role(
        name="federation_sender",
        kind=Kind.JOB,
        doc="sends to other homeservers; each worker sends to some of them",
        list_key="federation_sender_instances",
        connections=5,
        caches=4,
    ),
    Role(
        name="media_repository",
        kind=Kind.JOB,
        doc="uploads, downloads, thumbnails, URL previews, and the media administration API",
        resources=MEDIA,
        connections=5,
    ),
)

BY_NAME = {role.name: role for role in ROLES}

# Words that stand for several roles on one worker. stream_writers: every stream that clients write
# to.
SHORTHANDS: dict[str, tuple[str, ...]] = {
    "stream_writers": (
        "account_data",
        "device_lists",
        "presence",
        "push_rules",
        "receipts",
        "thread_subscriptions",
        "to_device",
        "typing",
    ),
}

# Synapse's deprecated worker applications; its configuration still accepts their names.
LEGACY_APPS: dict[str, str] = {
    f"synapse.app.{name}": name
    for name in (
        "appservice",
        "client_reader",
        "event_creator",
        "federation_reader",
        "federation_sender",
        "frontend_proxy",
        "media_repository",
        "pusher",
        "synchrotron",
        "user_dir",
    )
}

# Each preset is a text of WORKERS and means the same as that text.
PRESETS: dict[str, str] = {
    "none": "",
    "small": """
        sync=synchrotron+initial_synchrotron
        client=client_reader+event_creator+login+room_reader+frontend_proxy
        federation=federation_reader+federation_inbound+federation_sender
        background=background_worker+user_dir+pusher+appservice
    """,
    "medium": """
        event_persister
        sync=synchrotron+initial_synchrotron:2
        client=client_reader+login+room_reader+frontend_proxy
        event_creator
        federation=federation_reader+federation_inbound
        federation_sender
        media_repository
        streams=stream_writers
        background=background_worker+user_dir+pusher+appservice
    """,
    "large": """
        event_persister:4
        synchrotron:4
        initial_synchrotron
        client_reader:2
        room_reader:2
        login
        sso
        event_creator:2
        federation_reader:2
        federation_inbound:2
        federation_sender:2
        frontend=frontend_proxy+device_lists:2
        streams=account_data+receipts+push_rules+thread_subscriptions
        presence
        realtime=typing+to_device
        media_repository
        pusher
        appservice
        background_worker
        user_dir
    """,
    "full": "\n".join(role.name for role in ROLES),
    "complement": """
        event_persister:2
        background_worker
        event_creator
        user_dir
        media_repository
        federation_inbound
        federation_reader
        federation_sender
        synchrotron
        client_reader
        appservice
        pusher
        device_lists:2
        stream_writers=account_data+presence+receipts+to_device+typing
    """,
}
# The preset that stands for the layout that suits the machine: auto.py. The default of WORKERS.
AUTO = "auto"
