"""The table of roles: every kind of work that can be moved off the main process.

Sources, for each row: Synapse's workers guide (https://element-hq.github.io/synapse/latest/workers.html)
and, where it differs, the installed Synapse's synapse/config/workers.py.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What having a role means to Synapse."""

    GENERIC = "serves requests that any process could"
    STREAM = "writes a stream"
    JOB = "does work in the background"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One kind of work."""

    name: str
    kind: Kind
    doc: str
    # What its HTTP listener serves to nginx: Synapse's names of listener resources.
    resources: frozenset[str] = frozenset()
    # How many workers may have it; None for any number.
    limit: int | None = None
    # The key of Synapse's `stream_writers` that lists its workers.
    stream: str | None = None
    # The key of Synapse's configuration that names its one worker…
    singleton_key: str | None = None
    # … or lists its workers.
    list_key: str | None = None
    # How many connections to PostgreSQL it has work for at once. Each holds a thread while its
    # transaction lasts: synapse/storage/database.py, runInteraction. Synapse's own default for a
    # process with every role is 10.
    connections: int = 3
    # What it gains from memory for caches, beside the others. Those that read events and the
    # state of rooms gain most; a stream of small rows is read once, as it comes.
    caches: int = 1


CLIENT = frozenset({"client"})
FEDERATION = frozenset({"federation"})
MEDIA = frozenset({"client", "media"})

ROLES: tuple[Role, ...] = (
    Role(
        name="synchrotron",
        kind=Kind.GENERIC,
        doc="/sync, sliding sync and /events: one user always at the same worker",
        resources=CLIENT,
        connections=8,
        caches=6,
    ),
    Role(
        name="initial_synchrotron",
        kind=Kind.GENERIC,
        doc="the first, heavy /sync of a new device, and /initialSync",
        resources=CLIENT,
        connections=8,
        caches=4,
    ),
    Role(
        name="client_reader",
        kind=Kind.GENERIC,
        doc="what clients read: profiles, devices, keys, members, state, search, public rooms",
        resources=CLIENT,
        connections=6,
        caches=4,
    ),
    Role(
        name="event_creator",
        kind=Kind.GENERIC,
        doc="what clients send into rooms: messages, state, joins, invites, new rooms",
        resources=CLIENT,
        connections=6,
        caches=5,
    ),
    Role(
        name="federation_reader",
        kind=Kind.GENERIC,
        doc="what other homeservers ask for: events, state, joins, keys, public rooms",
        resources=FEDERATION,
        connections=5,
        caches=4,
    ),
    Role(
        name="federation_inbound",
        kind=Kind.GENERIC,
        doc="the transactions other homeservers send: one of them always at the same worker",
        resources=FEDERATION,
        connections=6,
        caches=5,
    ),
    Role(
        name="login",
        kind=Kind.GENERIC,
        doc="registration and login, apart from other load",
        resources=CLIENT,
        connections=4,
    ),
    Role(
        name="room_reader",
        kind=Kind.GENERIC,
        doc="/messages, /context, threads, relations: one room always at the same worker",
        resources=CLIENT,
        connections=5,
        caches=4,
    ),
    # All requests of one SSO login share a session in memory: https://github.com/matrix-org/synapse/issues/9427
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
        doc="the uploads of end-to-end encryption keys",
        resources=CLIENT,
        connections=4,
    ),
    Role(
        name="event_persister",
        kind=Kind.STREAM,
        doc="writes events to the database, rooms shared out between its workers",
        stream="events",
        connections=8,
        caches=6,
    ),
    # The limits of one are WorkerConfig.read_config's: it raises for more of these streams.
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
        doc="messages from device to device",
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
        doc="changes of push rules",
        resources=CLIENT,
        limit=1,
        stream="push_rules",
        connections=2,
    ),
    Role(
        name="device_lists",
        kind=Kind.STREAM,
        doc="changes of devices and of their keys",
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
    # RoomWorkerStore._insert_quarantine_changes_txn asserts that the process which quarantines
    # is a writer, so its workers serve that part of the media administration themselves.
    Role(
        name="quarantined_media_changes",
        kind=Kind.STREAM,
        doc="the quarantine of media, and its administration",
        resources=MEDIA,
        stream="quarantined_media_changes",
        connections=2,
    ),
    Role(
        name="background_worker",
        kind=Kind.JOB,
        doc="periodic work: clean-up, statistics, expiry",
        limit=1,
        singleton_key="run_background_tasks_on",
        connections=5,
    ),
    Role(
        name="user_dir",
        kind=Kind.JOB,
        doc="keeps the user directory, and searches it",
        resources=CLIENT,
        limit=1,
        singleton_key="update_user_directory_from_worker",
        connections=4,
        caches=2,
    ),
    Role(
        name="appservice",
        kind=Kind.JOB,
        doc="sends to application services",
        limit=1,
        singleton_key="notify_appservices_from_worker",
        connections=4,
        caches=2,
    ),
    Role(
        name="pusher",
        kind=Kind.JOB,
        doc="sends push notifications and e-mail",
        list_key="pusher_instances",
        connections=4,
        caches=3,
    ),
    Role(
        name="federation_sender",
        kind=Kind.JOB,
        doc="sends to other homeservers, which are shared out between its workers",
        list_key="federation_sender_instances",
        connections=5,
        caches=4,
    ),
    Role(
        name="media_repository",
        kind=Kind.JOB,
        doc="uploads, downloads, thumbnails, URL previews, and their administration",
        resources=MEDIA,
        connections=5,
    ),
)

BY_NAME = {role.name: role for role in ROLES}

# A word that stands for several roles on one worker: every stream that clients write to.
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

# Synapse's former worker applications, which its configuration still knows by name.
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

# Presets are WORKERS texts themselves, so they mean just what they would mean written out.
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
# What stands for the layout that suits the machine: layouts.py. It is what runs without WORKERS.
AUTO = "auto"
