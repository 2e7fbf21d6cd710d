"""THE table of routes: the roles that serve a method and a raw path.

The first matching row wins; a request that matches no row goes to main. Patterns use the syntax
that Python's `re` and nginx's PCRE share. They are matched against the percent-encoded path as the
client sent it, because Synapse matches its servlets against that.

Sources of the rows: the servlets that Synapse 1.163.2 registers on a worker
(see synapse/_scripts/generate_workers_map.py) and the workers guide,
https://element-hq.github.io/synapse/latest/workers.html
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ganglion.topology.names import MAIN
from ganglion.topology.topology import Process, Topology


class Key(Enum):
    """The property of requests that share a worker of a pool."""

    NONE = "none"
    USER = "user"
    ROOM = "room"
    ORIGIN = "origin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row. The workers with the first of `roles` that any worker has are the pool.

    Without `methods`, the row is for all methods. HEAD is treated as GET, as in Synapse.
    With `writers_only`, no process outside the pool can serve the request, so there is no fallback.
    """

    name: str
    path: str
    roles: tuple[str, ...]
    methods: tuple[str, ...] = ()
    key: Key = Key.NONE
    writers_only: bool = False

    @property
    def pattern(self) -> str:
        """The regular expression for `METHOD /path`."""
        return f"^{'|'.join(self.methods).join('()') if self.methods else '[A-Z]+'} {self.path}"


_ANY = "/_matrix/client/(api/v1|r0|v3|unstable)"
_NEW = "/_matrix/client/(r0|v3|unstable)"
_ROOM = f"{_ANY}/rooms/[^/]*"
_PROFILE = f"({_ANY}|/_matrix/client/unstable/uk.tcpip.msc4133)/profile"
_READS = ("client_reader",)
_ROOM_READS = ("room_reader", "client_reader")
_LOGINS = ("login", "client_reader")
_DEVICES = ("device_lists", "frontend_proxy", "client_reader")
_FEDERATION = ("federation_reader",)
_QUARANTINE = ("quarantined_media_changes", "media_repository")

ROUTES: tuple[Route, ...] = (
    # Streams come first: generic rows below match their paths too (…/rooms/X/typing).
    Route(
        name="typing",
        path=f"{_ROOM}/typing/",
        roles=("typing",),
        # RoomTypingRestServlet.on_PUT raises on every process except the writer.
        writers_only=True,
    ),
    # The store asserts that the process which adds messages to devices, or receipts, is a writer of
    # them. main is none where a worker is, and would answer 500.
    Route(
        name="to_device",
        path=f"{_NEW}/sendToDevice/",
        roles=("to_device",),
        writers_only=True,
    ),
    Route(
        name="account_data",
        path=f"({_NEW}|/_matrix/client/unstable/org.matrix.msc3391)/user/[^/]*"
        "/(rooms/[^/]*/)?(account_data|tags)(/|$)",
        roles=("account_data",),
        key=Key.USER,
    ),
    Route(
        name="receipts",
        path=f"{_NEW}/rooms/[^/]*/(receipt/|read_markers$)",
        roles=("receipts",),
        key=Key.ROOM,
        writers_only=True,
    ),
    # Reading another user's presence raises on every process except the writer:
    # WorkerPresenceHandler.is_visible. Others could forward a PUT, but only to the writer.
    Route(name="presence", path=f"{_ANY}/presence/", roles=("presence",), writers_only=True),
    # Only the writer can change them: PushRuleRestServlet.WORKERS_DENIED_METHODS.
    Route(
        name="push_rules_write",
        methods=("PUT", "DELETE"),
        path=f"{_ANY}/pushrules/",
        roles=("push_rules",),
        writers_only=True,
    ),
    Route(
        name="push_rules",
        methods=("GET",),
        path=f"{_ANY}/pushrules/",
        roles=("push_rules", "client_reader"),
    ),
    # The store asserts that the process that changes subscriptions is a writer.
    Route(
        name="thread_subscriptions_write",
        methods=("PUT", "DELETE"),
        path="/_matrix/client/unstable/io.element.msc4306/",
        roles=("thread_subscriptions",),
        key=Key.USER,
        writers_only=True,
    ),
    Route(
        name="thread_subscriptions",
        methods=("GET",),
        path="/_matrix/client/unstable/io.element.msc430[68]/",
        roles=("thread_subscriptions", "client_reader"),
        key=Key.USER,
    ),
    Route(
        name="device_lists",
        path=f"({_NEW}/(delete_devices$|keys/(upload|device_signing/upload|signatures/upload)(/|$))"
        "|/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device)",
        roles=_DEVICES,
        key=Key.USER,
    ),
    Route(
        name="device_changes",
        methods=("PUT", "DELETE"),
        path=f"{_NEW}/devices/",
        roles=("device_lists", "client_reader"),
        key=Key.USER,
    ),
    Route(
        name="user_directory",
        path=f"{_NEW}/user_directory/search$",
        roles=("user_dir", "client_reader"),
    ),
    # Media comes before the federation and client rows, which have the same prefixes. Quarantining
    # comes before the rest of the media administration API, because only its writers can serve it.
    Route(
        name="media_quarantine",
        path="/_synapse/admin/v1/(quarantine_media/"
        "|media/(quarantine|unquarantine)/"
        "|(room|user)/[^/]*/media/quarantine$)",
        roles=_QUARANTINE,
        writers_only=True,
    ),
    Route(
        name="media",
        path="/_matrix/(media|client/(v1|unstable/org.matrix.msc3916)/media"
        "|federation/(v1|unstable/org.matrix.msc3916.v2)/media)/",
        roles=("media_repository",),
    ),
    Route(
        name="media_admin",
        path="/_synapse/admin/v1/(purge_media_cache$|media/|(room|users?)/[^/]*/media(/|$))",
        roles=("media_repository",),
    ),
    # All requests of an SSO login must reach the same process.
    Route(
        name="sso",
        path=f"({_ANY}/login/(sso|cas)/|/_synapse/client/(pick_idp|pick_username|new_user_consent"
        "|sso_register|oidc|saml2)(/|$)|/_matrix/saml2(/|$))",
        roles=("sso",),
    ),
    # A /sync without `since`, or with full_state, is an initial one: nginx_maps.py gives it the
    # row initial_sync.
    Route(
        name="sync",
        methods=("GET",),
        path=f"({_NEW}/sync|{_ANY}/events)$",
        roles=("synchrotron",),
        key=Key.USER,
    ),
    Route(
        name="initial_sync",
        methods=("GET",),
        path=f"{_ANY}/(rooms/[^/]*/)?initialSync$",
        roles=("initial_synchrotron", "synchrotron"),
        key=Key.USER,
    ),
    Route(
        name="sliding_sync",
        methods=("POST",),
        path="/_matrix/client/unstable/org.matrix.(simplified_)?msc3575/sync$",
        roles=("synchrotron",),
        key=Key.USER,
    ),
    Route(
        name="login",
        path=f"({_ANY}/login$|{_NEW}/(register|register/available|password_policy)$"
        "|/_matrix/client/(v1|unstable)/register/m.login.registration_token/validity$)",
        roles=_LOGINS,
    ),
    # Writes to rooms. One servlet serves reads and writes of `/state` with a type.
    Route(
        name="send",
        path=f"{_ROOM}/(send|redact|state|join|invite|leave|ban|unban|kick)/",
        roles=("event_creator",),
        key=Key.ROOM,
    ),
    Route(
        name="membership",
        methods=("POST", "PUT"),
        path=f"{_ROOM}/(join|invite|leave|ban|unban|kick)$",
        roles=("event_creator",),
        key=Key.ROOM,
    ),
    Route(
        name="join",
        path=f"({_ANY}/join|{_NEW}/knock)/",
        roles=("event_creator",),
        key=Key.ROOM,
    ),
    Route(
        name="create_room",
        path=f"{_ANY}/createRoom(/|$)",
        roles=("event_creator",),
        key=Key.USER,
    ),
    Route(
        name="profile_write",
        methods=("PUT", "DELETE"),
        path=f"{_PROFILE}/",
        roles=("event_creator",),
        key=Key.USER,
    ),
    Route(
        name="delayed_events",
        methods=("GET",),
        path=r"/_matrix/client/unstable/org\.matrix\.msc4140/delayed_events(/[^/]+)?$",
        roles=_READS,
    ),
    Route(
        name="delayed_event_restart",
        methods=("POST",),
        path=r"/_matrix/client/unstable/org\.matrix\.msc4140/delayed_events/[^/]+/restart$",
        roles=("event_creator", "client_reader"),
    ),
    # Reads of a room go to the same worker, for its caches; /messages must not run in two places.
    Route(
        name="room_messages",
        methods=("GET",),
        path=f"{_ROOM}/messages$",
        roles=_ROOM_READS,
        key=Key.ROOM,
    ),
    Route(
        name="room_reads",
        methods=("GET",),
        path=f"({_ROOM}/(context/[^/]*|event/[^/]*|members|joined_members|state|aliases)"
        "|/_matrix/client/(v1|unstable)/rooms/[^/]*/(hierarchy|threads|timestamp_to_event"
        "|relations/[^/]*(/[^/]*)?(/[^/]*)?)"
        "|/_matrix/client/unstable/(org.matrix.msc2432/rooms/[^/]*/aliases"
        "|io.element.msc4502/rooms/[^/]*/is_joined))$",
        roles=_ROOM_READS,
        key=Key.ROOM,
    ),
    Route(
        name="room_summary",
        methods=("GET",),
        path="/_matrix/client/(unstable/im.nheko.summary/(rooms/[^/]*/summary|summary/[^/]*)"
        "|v1/room_summary/[^/]*)$",
        roles=_ROOM_READS,
        key=Key.ROOM,
    ),
    # Other client reads.
    Route(
        name="profile",
        methods=("GET",),
        path=f"{_PROFILE}/",
        roles=_READS,
    ),
    Route(
        name="client_reads",
        path=f"({_ANY}/(publicRooms|search|joined_rooms|voip/turnServer|events/[^/]*"
        "|directory/room/[^/]*)"
        f"|{_NEW}/(account/(3pid|whoami|deactivate)|devices|capabilities|notifications"
        "|keys/(query|changes|claim)|room_keys/.*|user/[^/]*/filter(/[^/]*)?)"
        "|/_matrix/client/versions"
        "|/_matrix/client/(v1|unstable|unstable/org.matrix.msc2965)/auth_metadata"
        "|/_matrix/client/unstable/(org.matrix.msc3983/keys/claim"
        "|org.matrix.msc3720/account_status|org.matrix.msc1763/retention/configuration"
        "|org.matrix.msc4143/rtc/transports|io.element.msc4512/appservice/fed_proxy)"
        "|/_matrix/client/(v1|unstable)/appservice/[^/]*/ping)$",
        roles=_READS,
    ),
    Route(name="device_read", methods=("GET",), path=f"{_NEW}/devices/[^/]*$", roles=_READS),
    Route(
        name="synapse_client",
        path="(/_synapse/client/(unsubscribe|media_upload_limit_exceeded"
        r"|v1/config/federation_whitelist)(/|$)|/_synapse/mas(/|$)|/\.well-known(/|$))",
        roles=_READS,
    ),
    Route(name="room_admin", path="/_synapse/admin/v1/rooms/[^/]*$", roles=_READS),
    Route(
        name="user_admin",
        methods=("GET",),
        path="/_synapse/admin/v2/users/[^/]*$",
        roles=_READS,
    ),
    # Federation. Workers register two more servlets that answer 500 there, since only the store of
    # main has the method: /v1/openid/userinfo (get_user_id_for_open_id_token) and
    # /unstable/org.matrix.msc4370/extremities (get_forward_extremities_for_room). No row matches
    # them, so main answers: tests/synapse/test_worker_store.py.
    Route(
        name="federation_send",
        methods=("PUT",),
        path="/_matrix/federation/v1/send/",
        roles=("federation_inbound",),
        key=Key.ORIGIN,
    ),
    Route(
        name="federation_room",
        path="/_matrix/federation/(v1/(state|state_ids|backfill|get_missing_events|event_auth"
        "|make_join|make_leave|make_knock|send_knock|hierarchy|timestamp_to_event"
        "|exchange_third_party_invite)|(v1|v2)/(send_join|send_leave|invite)"
        "|unstable/rooms)/",
        roles=_FEDERATION,
        key=Key.ROOM,
    ),
    Route(
        name="federation_reads",
        path="(/_matrix/federation/(v1/(event/|publicRooms$|query/|user/(devices|keys)/"
        "|version$|3pid/onbind$)|unstable/(user/keys/claim$"
        "|org.matrix.msc3720/query/account_status$))|/_matrix/key/v2/(query|server)(/|$))",
        roles=_FEDERATION,
    ),
)

# For requests that no row matches.
DEFAULT = Route(name=MAIN, path="/", roles=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The processes that serve a route: an nginx upstream with this name and key."""

    name: str
    key: Key
    members: tuple[Process, ...]

    @property
    def upstream(self) -> str:
        """nginx's name of the upstream, which differs by key."""
        return self.name if self.key is Key.NONE else f"{self.name}.{self.key.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A route in one topology: its pool, the fallback if that pool is down, and the last resort."""

    route: Route
    pool: Pool
    fallback: Pool | None
    last: Pool | None = None

    @property
    def fallbacks(self) -> tuple[Pool, ...]:
        """The pools that are tried after `pool`, in order."""
        return tuple(pool for pool in (self.fallback, self.last) if pool is not None)


def choose(route: Route, topology: Topology) -> Choice:
    """Choose a route's pool and its fallbacks: the next pool, then main if it can serve it."""
    pools = list(_pools(route, topology))
    others = [] if route.writers_only else pools[1:]
    return Choice(
        route=route,
        pool=pools[0],
        fallback=others[0] if others else None,
        last=others[-1] if len(others) > 1 else None,
    )


def _pools(route: Route, topology: Topology) -> Iterator[Pool]:
    for role in route.roles:
        members = topology.having(role)
        if members:
            yield Pool(name=role, key=route.key if len(members) > 1 else Key.NONE, members=members)
    if "media_repository" in route.roles and topology.having("media_repository"):
        return
    yield Pool(name=MAIN, key=Key.NONE, members=(topology.main,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Send the requests of one user or room to one worker, if it is in their pool.

    `values` are the possible values of the key; that of a user depends on the kind of token.
    """

    key: Key
    values: tuple[str, ...]
    worker: str

    @property
    def upstream(self) -> str:
        """nginx's name of the upstream that contains only this worker."""
        return f"pin.{self.worker}"


def table(topology: Topology, routes: Sequence[Route] = ROUTES) -> tuple[Choice, ...]:
    """Return every row in order with its pool, and the default at the end."""
    return tuple(choose(route, topology) for route in (*routes, DEFAULT))
