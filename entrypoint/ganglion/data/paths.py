"""Every path below the data directory and the run directory, spelled once.

This module imports nothing of Ganglion, so every package may import it.
"""

from dataclasses import dataclass

SIGNING_KEY_SUFFIX = ".signing.key"
# The entries of a run directory. A start removes these, and refuses a directory with others.
RUN_ENTRIES = frozenset(
    {
        ".accounts.new",
        ".backup.json.new",
        ".conf.new",
        ".conf.next.new",
        ".groups.new",
        "accounts",
        "backup.json",
        "conf",
        "conf.before",
        "conf.changing",
        "conf.next",
        "control",
        "groups",
        "logs.sock",
        "nginx",
        "nginx.pid",
        "notify.sock",
        "postgres",
        "processes.sock",
        "redis",
        "requests",
        "resetting",
        "restart.lock",
        "restart.sock",
        "sockets",
        "states.sock",
        "supervisor.sock",
        "supervisord.pid",
        "temporary",
        "upgrade",
        ".upstreams.conf.new",
        "upstreams.conf",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Paths derived from GANGLION_DATA (`data`) and GANGLION_RUN (`run`), as absolute text.

    Everything below `data` persists. Everything below `run` is made anew at every start. `etc` is
    the directory of rendered files if it is not in `run`, as in an export.
    """

    data: str
    run: str
    etc: str = ""

    # The data directory: the operator's files.

    @property
    def homeserver_yaml(self) -> str:
        return f"{self.data}/homeserver.yaml"

    @property
    def homeserver_d(self) -> str:
        """The directory of further files of options."""
        return f"{self.data}/homeserver.d"

    @property
    def routes_yaml(self) -> str:
        return f"{self.data}/routes.yaml"

    @property
    def appservices(self) -> str:
        return f"{self.data}/appservices"

    @property
    def modules(self) -> str:
        """Packages that only Synapse's processes import."""
        return f"{self.data}/modules"

    # The data directory: files that Ganglion and Synapse make.

    @property
    def lock(self) -> str:
        return f"{self.data}/.lock"

    @property
    def restoring(self) -> str:
        """The stage of a restore that has not ended: data/backup/restoring.py."""
        return f"{self.data}/.restoring"

    @property
    def importing(self) -> str:
        """The stage of an import that has not ended: importing/writing.py."""
        return f"{self.data}/.importing"

    @property
    def porting(self) -> str:
        """The stage of a move from SQLite: importing/moving.py."""
        return f"{self.data}/.porting"

    @property
    def outside(self) -> str:
        """Restored files of the operator that were not in the data directory."""
        return f"{self.data}/outside"

    @property
    def server_json(self) -> str:
        """The record of the server that the data directory belongs to: data/identity.py."""
        return f"{self.data}/server.json"

    @property
    def applied_workers(self) -> str:
        """The WORKERS text of `ganglion apply`: data/applied_workers.py."""
        return f"{self.data}/applied.json"

    @property
    def kept_secrets(self) -> str:
        return f"{self.data}/secrets"

    @property
    def password_in_force(self) -> str:
        """The password that the embedded database's role has now."""
        return f"{self.kept_secrets}/postgres_password_in_force"

    @property
    def postgres(self) -> str:
        """The embedded PostgreSQL cluster."""
        return f"{self.data}/postgres"

    @property
    def postgres_version(self) -> str:
        """The file that exists once the embedded cluster is complete."""
        return f"{self.postgres}/PG_VERSION"

    def postgres_of(self, version: int) -> str:
        """The cluster of an earlier version, kept by an upgrade."""
        return f"{self.postgres}.{version}"

    @property
    def postgres_upgrade(self) -> str:
        """The cluster that an upgrade is making."""
        return f"{self.data}/.postgres.upgrade"

    @property
    def sqlite(self) -> str:
        """The SQLite database of test mode."""
        return f"{self.data}/sqlite/homeserver.db"

    @property
    def media_store(self) -> str:
        return f"{self.data}/media_store"

    @property
    def complement_certificates(self) -> str:
        return f"{self.data}/complement"

    @property
    def complement_root(self) -> str:
        """The root certificate of Complement's authority."""
        return f"{self.complement_certificates}/authority.crt"

    @property
    def log_files(self) -> str:
        return f"{self.data}/logs"

    def log_file(self, process: str) -> str:
        return f"{self.log_files}/{process}.log"

    def signing_key(self, server_name: str) -> str:
        return f"{self.data}/{server_name}{SIGNING_KEY_SUFFIX}"

    # The run directory: rendered files.

    @property
    def conf(self) -> str:
        return self.etc or f"{self.run}/conf"

    def conf_file(self, name: str) -> str:
        """A rendered file by its path below `conf`."""
        return f"{self.conf}/{name}"

    @property
    def conf_next(self) -> str:
        """The rendered files of a layout that is about to be applied."""
        return f"{self.run}/conf.next"

    @property
    def supervisord_conf(self) -> str:
        return self.conf_file("supervisord.conf")

    @property
    def workers(self) -> str:
        """The WORKERS text in force, for the verbs that ask a running server."""
        return self.conf_file("workers")

    def secret(self, name: str) -> str:
        """The rendered file of one secret."""
        return self.conf_file(f"secrets/{name}")

    @property
    def pgpass(self) -> str:
        return self.secret("pgpass")

    # The run directory: sockets and state.

    @property
    def sockets(self) -> str:
        return f"{self.run}/sockets"

    def socket(self, name: str) -> str:
        """The socket of a Synapse process or of one of its listeners."""
        return f"{self.sockets}/{name}.sock"

    def agent_socket(self, process: str) -> str:
        """The socket of the test agent in a Synapse process."""
        return self.socket(f"{process}.test")

    def process_pid(self, process: str) -> str:
        """The file with the number of a process that nothing supervises: an export for synctl."""
        return f"{self.run}/{process}.pid"

    @property
    def positions_table(self) -> str:
        """The shared memory in which processes publish their positions, in test mode."""
        return f"{self.sockets}/positions.test"

    @property
    def notify_socket(self) -> str:
        """NOTIFY_SOCKET, where programs report readiness: sd_notify(3)."""
        return f"{self.run}/notify.sock"

    @property
    def control_socket(self) -> str:
        """The socket of the control application."""
        return f"{self.control_sockets}/control.sock"

    @property
    def control_sockets(self) -> str:
        """The directory of the control application's socket, which nginx may enter."""
        return f"{self.run}/control"

    @property
    def postgres_sockets(self) -> str:
        """The directory of PostgreSQL's sockets, which libpq takes as a host."""
        return f"{self.run}/postgres"

    @property
    def postgres_upgrade_sockets(self) -> str:
        """The sockets of PostgreSQL's servers during an upgrade."""
        return f"{self.run}/upgrade"

    @property
    def redis_directory(self) -> str:
        """Redis's working directory, with its socket."""
        return f"{self.run}/redis"

    @property
    def redis_socket(self) -> str:
        return f"{self.redis_directory}/redis.sock"

    @property
    def nginx_directory(self) -> str:
        """nginx's temporary files. Its workers own the directories inside."""
        return f"{self.run}/nginx"

    @property
    def nginx_pid(self) -> str:
        """Written by nginx's master, so it is in a directory that no worker can change."""
        return f"{self.run}/nginx.pid"

    @property
    def upstreams(self) -> str:
        """nginx's upstreams in other containers, as their names resolve: programs/peers.py."""
        return f"{self.run}/upstreams.conf"

    @property
    def temporary(self) -> str:
        """Temporary files of all programs, where /tmp cannot be written."""
        return f"{self.run}/temporary"

    @property
    def accounts(self) -> str:
        """The accounts that PostgreSQL sees if our own has no name: machine/nss_wrapper.py."""
        return f"{self.run}/accounts"

    @property
    def groups(self) -> str:
        """The groups beside them."""
        return f"{self.run}/groups"

    @property
    def supervisor_socket(self) -> str:
        """supervisord's own RPC."""
        return f"{self.run}/supervisor.sock"

    @property
    def supervisord_pid(self) -> str:
        return f"{self.run}/supervisord.pid"

    @property
    def command_socket(self) -> str:
        """In test mode, the socket for commands that restart and stop processes."""
        return f"{self.run}/processes.sock"

    @property
    def restart_socket(self) -> str:
        """Without test mode, the socket for commands that restart processes."""
        return f"{self.run}/restart.sock"

    @property
    def states_socket(self) -> str:
        """The socket at which the supervisor says the state of each program."""
        return f"{self.run}/states.sock"

    @property
    def requests(self) -> str:
        """The file to which nginx adds a line for each request, for the control application."""
        return f"{self.run}/requests"

    @property
    def log_socket(self) -> str:
        """Where `ganglion logs` reads the last lines of all programs."""
        return f"{self.run}/logs.sock"

    @property
    def restart_lock(self) -> str:
        """Locked while `ganglion restart` or `ganglion apply` works."""
        return f"{self.run}/restart.lock"

    @property
    def backup_state(self) -> str:
        """How the last scheduled backup went."""
        return f"{self.run}/backup.json"

    @property
    def resetting(self) -> str:
        """Exists while a test server is being reset. nginx then answers 503."""
        return f"{self.run}/resetting"
