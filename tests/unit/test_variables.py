"""Every variable is read, and every secret can come from a file."""

import pytest

from ganglion.settings.environment import from_environ
from ganglion.settings.variables import Settings, variables
from tests.plans import problems, said, settings

SECRETS = [variable.name for _, variable in variables() if variable.secret]
PLAIN = [variable.name for _, variable in variables() if not variable.secret]
KEY = f"ed25519 a_AbCd {'B' * 43}"
PEM = "-----BEGIN {0}-----\nAbC+/=\n-----END {0}-----"
CERTIFICATE, PRIVATE = PEM.format("CERTIFICATE"), PEM.format("EC PRIVATE KEY")

# For each variable a text that is not its default, and the value that is read from it.
GIVEN: dict[str, tuple[str, object]] = {
    "WORKERS": ("full", "full"),
    "SYNAPSE_SERVER_NAME": ("example.org", "example.org"),
    "SYNAPSE_REPORT_STATS": ("yes", True),
    "SYNAPSE_PUBLIC_BASEURL": ("https://example.org", "https://example.org/"),
    "GANGLION_DATA": ("/srv/data", "/srv/data"),
    "GANGLION_RUN": ("/run/other", "/run/other"),
    "HTTP_PORT": ("8108", 8108),
    "FEDERATION_PORT": ("8548", 8548),
    "BIND_ADDRESS": ("127.0.0.1", "127.0.0.1"),
    "TRUSTED_PROXIES": ("10.0.0.0/8", ("10.0.0.0/8",)),
    "SYNAPSE_TLS_CERT": ("/tls/cert.pem", "/tls/cert.pem"),
    "SYNAPSE_TLS_KEY": ("/tls/key.pem", "/tls/key.pem"),
    "SYNAPSE_USE_UNIX_SOCKET": ("no", False),
    "INTERNAL_PORT_BASE": ("19000", 19000),
    "SYNAPSE_AS_REGISTRATION_DIR": ("/appservices", "/appservices"),
    "SYNAPSE_MAX_UPLOAD_SIZE": ("1G", 1024**3),
    "SYNAPSE_ENABLE_REGISTRATION": ("yes", True),
    "SYNAPSE_LOG_LEVEL": ("warning", "WARNING"),
    "SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK": ("1", True),
    "SYNAPSE_ENABLE_METRICS": ("true", True),
    "GANGLION_CONTROL": ("no", False),
    "CONTROL_PORT": ("9569", 9569),
    "CONTROL_BIND_ADDRESS": ("*", "*"),
    "CONTROL_HOSTS": ("Synapse.example, a.b", ("synapse.example", "a.b")),
    "GANGLION_MEMORY": ("8G", 8 * 1024**3),
    "GANGLION_CPUS": ("1.5", 1.5),
    "GANGLION_RESTRICT_FEDERATION": ("on", True),
    "GANGLION_PREFORK": ("no", False),
    "GANGLION_FIXES": ("none", ()),
    "SYNAPSE_ASYNC_IO_REACTOR": ("yes", True),
    "POSTGRES_HOST": ("db.example.org", "db.example.org"),
    "POSTGRES_PORT": ("5433", 5433),
    "POSTGRES_DB": ("matrix", "matrix"),
    "POSTGRES_USER": ("matrix", "matrix"),
    "POSTGRES_SSLMODE": ("require", "require"),
    "GANGLION_WAIT": ("5m", 300.0),
    "POSTGRES_CP_MIN": ("2", 2),
    "POSTGRES_CP_MAX": ("20", 20),
    "REDIS_HOST": ("redis.example.org", "redis.example.org"),
    "REDIS_PORT": ("6380", 6380),
    "REDIS_DBID": ("3", 3),
    "REDIS_TLS": ("yes", True),
    "CONTROL_TOKEN": ("secret-0", "secret-0"),
    "POSTGRES_PASSWORD": ("secret-1", "secret-1"),
    "REDIS_PASSWORD": ("secret-2", "secret-2"),
    "SYNAPSE_SIGNING_KEY": (KEY, KEY),
    "GANGLION_REPLICATION_CERT": (f"Subject: x\n{CERTIFICATE}\n", CERTIFICATE),
    "GANGLION_REPLICATION_KEY": (f"{CERTIFICATE}\n{PRIVATE}", PRIVATE),
    "GANGLION_REPLICATION_CA": (f"{CERTIFICATE}\n\n{CERTIFICATE}", f"{CERTIFICATE}\n{CERTIFICATE}"),
    "GANGLION_REPLACED_SIGNING_KEY": ("ed25519:a_AbCd", "ed25519:a_AbCd"),
    "SYNAPSE_MACAROON_SECRET_KEY": ("secret-3", "secret-3"),
    "SYNAPSE_FORM_SECRET": ("secret-4", "secret-4"),
    "SYNAPSE_REGISTRATION_SHARED_SECRET": ("secret-5", "secret-5"),
    "SYNAPSE_WORKER_REPLICATION_SECRET": ("secret-6", "secret-6"),
    "GANGLION_ADMIN_NETWORKS": ("10.0.0.0/8", ("10.0.0.0/8",)),
    "GANGLION_WELL_KNOWN_SERVER": ("matrix.example.org:443", "matrix.example.org:443"),
    "GANGLION_DATABASE_LOCK": ("no", False),
    "GANGLION_POSTGRES_UPGRADE": ("keep", "keep"),
    "GANGLION_WATCHDOG": ("1m", 60.0),
    "GANGLION_BACKUP": ("/backups", "/backups"),
    "GANGLION_BACKUP_EVERY": ("6h", 21600.0),
    "GANGLION_BACKUP_KEEP": ("30", 30),
    "GANGLION_LOG_FORMAT": ("json", "json"),
    "GANGLION_ACCESS_LOG": ("all", "all"),
    "GANGLION_LOG_MEMORY": ("8M", 8 * 1024 * 1024),
    "GANGLION_STOP_TIMEOUT": ("2m", 120.0),
    "GANGLION_ROUTES": ("/srv/routes.yaml", "/srv/routes.yaml"),
    "GANGLION_INITIAL_SYNCS": ("5", 5),
    "GANGLION_REQUESTS_AT_ONCE": ("7", 7),
    "GANGLION_HSTS": ("365d", 365 * 86400.0),
    "GANGLION_TRACE_HEADERS": ("yes", True),
    "GANGLION_TEST_MODE": ("yes", True),
    "GANGLION_SWITCH_TEST_MODE": ("example.org", "example.org"),
    "GANGLION_CONSISTENT": ("no", False),
    "GANGLION_COMPLEMENT": ("/other", "/other"),
    "SYNAPSE_COMPLEMENT_USE_WORKERS": ("true", True),
    "SYNAPSE_COMPLEMENT_DATABASE": ("Postgres", "postgres"),
    "SYNAPSE_COMPLEMENT_USE_ASYNCIO_REACTOR": ("1", True),
    "SYNAPSE_CONFIG_PATH": ("/conf/homeserver.yaml", "/conf/homeserver.yaml"),
    "SYNAPSE_CONFIG_DIR": ("/conf", "/conf"),
    "SYNAPSE_LOG_SENSITIVE": ("1", True),
    "SYNAPSE_LOG_TESTING": ("1", True),
    "SYNAPSE_HTTP_PROXY": ("http://proxy:3128", "http://proxy:3128"),
    "SYNAPSE_HTTPS_PROXY": ("http://proxy:3129", "http://proxy:3129"),
    "SYNAPSE_NO_PROXY": ("localhost,10.0.0.0/8", "localhost,10.0.0.0/8"),
    "SYNAPSE_NO_TLS": ("True", True),
    "SYNAPSE_CACHE_FACTOR": ("2.5", 2.5),
    "SYNAPSE_EVENT_CACHE_SIZE": ("10K", 10240),
    "SYNAPSE_ALLOW_GUEST": ("on", True),
    "SYNAPSE_TURN_URIS": ("turn:a, turn:b", ("turn:a", "turn:b")),
    "SYNAPSE_TURN_SECRET": ("secret-7", "secret-7"),
    "SYNAPSE_RECAPTCHA_PUBLIC_KEY": ("public", "public"),
    "SYNAPSE_RECAPTCHA_PRIVATE_KEY": ("secret-8", "secret-8"),
    "GANGLION_ONLY": ("main, nginx", ("main", "nginx")),
    "GANGLION_HOSTS": ("main=a, *={process}", (("main", "a"), ("*", "{process}"))),
    "UID": ("1000", 1000),
    "GID": ("1001", 1001),
}


def value(chosen: Settings, name: str) -> object:
    """Return the value that was read for a variable."""
    (field,) = (field for field, variable in variables() if variable.name == name)
    return getattr(chosen, field)


def test_an_empty_environment_gives_every_default() -> None:
    assert settings() == Settings()


def test_given_has_every_variable() -> None:
    assert set(GIVEN) == {variable.name for _, variable in variables()}


def test_every_variable_is_read() -> None:
    chosen = settings(**{name: text for name, (text, _) in GIVEN.items()})
    assert {name: value(chosen, name) for name in GIVEN} == {
        name: expected for name, (_, expected) in GIVEN.items()
    }
    assert chosen.given == frozenset(GIVEN)


def test_given_has_no_default() -> None:
    assert [
        name for name, (_, expected) in GIVEN.items() if value(Settings(), name) == expected
    ] == []


def test_no_lines_may_be_kept() -> None:
    assert settings(GANGLION_LOG_MEMORY="0").log_memory == 0


def test_white_space_around_a_value_is_removed() -> None:
    assert settings(SYNAPSE_SERVER_NAME=" example.org\n").server_name == "example.org"


@pytest.mark.parametrize("name", GIVEN)
def test_an_empty_variable_is_unset(name: str) -> None:
    assert settings(**{name: ""}) == settings(**{name: " \n"}) == Settings()


def test_an_empty_file_variable_is_unset() -> None:
    assert settings(REDIS_PASSWORD_FILE="", SYNAPSE_WORKER_TYPES=" ") == Settings()


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_can_come_from_a_file(name: str) -> None:
    text, expected = GIVEN[name]
    files = {"/run/secrets/it": f"{text}\n"}
    chosen = from_environ({f"{name}_FILE": "/run/secrets/it"}, files.__getitem__)
    assert value(chosen, name) == expected
    assert chosen.given == {name}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_and_its_file_exclude_each_other(name: str) -> None:
    refused = problems(lambda: settings(**{name: "leak", f"{name}_FILE": "/file"}))
    assert refused == [
        said(name, f"is set together with {name}_FILE", f"set only one of {name} and {name}_FILE")
    ]


FILE_FIX = "give the path of a readable file that contains only the secret"


def test_a_missing_secret_file() -> None:
    assert problems(lambda: settings(REDIS_PASSWORD_FILE="/no/such")) == [
        said(
            "REDIS_PASSWORD_FILE='/no/such'", "cannot be read: No such file or directory", FILE_FIX
        )
    ]


def test_an_empty_secret_file() -> None:
    refused = problems(lambda: from_environ({"REDIS_PASSWORD_FILE": "/f"}, lambda _: " \n"))
    assert refused == [said("REDIS_PASSWORD_FILE='/f'", "is empty", FILE_FIX)]


def test_a_secret_file_that_is_not_text() -> None:
    refused = problems(
        lambda: from_environ({"REDIS_PASSWORD_FILE": "/f"}, lambda _: b"\xff".decode())
    )
    assert refused == [said("REDIS_PASSWORD_FILE='/f'", "is not a text file", FILE_FIX)]


@pytest.mark.parametrize("name", PLAIN)
def test_only_secrets_can_come_from_files(name: str) -> None:
    assert problems(lambda: settings(**{f"{name}_FILE": "/f"})) == [
        said(
            f"{name}_FILE",
            "unknown variable: only a secret can come from a file",
            f"set {name} itself",
        )
    ]


@pytest.mark.parametrize("name", SECRETS)
def test_no_message_contains_a_secret(name: str) -> None:
    for environ in (
        {name: "tell\ntale"},
        {name: "tell\ntale", f"{name}_FILE": "/f"},
        {f"{name}X": "tell\ntale"},
        {f"{name}_FILE": "/f"},
    ):
        refused = problems(lambda given=environ: from_environ(given, lambda _: "tell\ntale"))  # type: ignore[misc]
        assert len(refused) == 1
        assert "tale" not in refused[0]


def test_a_secret_with_a_space() -> None:
    assert problems(lambda: settings(SYNAPSE_FORM_SECRET="a b")) == [
        said(
            "SYNAPSE_FORM_SECRET",
            "contains a space, a control character or a non-ASCII character",
            "use letters, digits and punctuation only, such as the output of: openssl rand -hex 32",
        )
    ]
