"""An environment → settings, or every problem in it."""

from collections.abc import Mapping

import pytest

from ganglion.settings.environment import from_environ
from ganglion.settings.variables import Settings, variables
from tests.plans import problems, said, settings

SECRETS = [variable.name for _, variable in variables() if variable.secret]
PLAIN = [variable.name for _, variable in variables() if not variable.secret]
KEY = f"ed25519 a_AbCd {'B' * 43}"

# A value of each variable that is not its default, and what it is read as.
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
    "CONTROL_PORT": ("9569", 9569),
    "GANGLION_MEMORY": ("8G", 8 * 1024**3),
    "GANGLION_CPUS": ("1.5", 1.5),
    "GANGLION_RESTRICT_FEDERATION": ("on", True),
    "GANGLION_PREFORK": ("no", False),
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
    "POSTGRES_PASSWORD": ("secret-1", "secret-1"),
    "REDIS_PASSWORD": ("secret-2", "secret-2"),
    "SYNAPSE_SIGNING_KEY": (KEY, KEY),
    "SYNAPSE_MACAROON_SECRET_KEY": ("secret-3", "secret-3"),
    "SYNAPSE_FORM_SECRET": ("secret-4", "secret-4"),
    "SYNAPSE_REGISTRATION_SHARED_SECRET": ("secret-5", "secret-5"),
    "SYNAPSE_WORKER_REPLICATION_SECRET": ("secret-6", "secret-6"),
    "GANGLION_ADMIN_NETWORKS": ("10.0.0.0/8", ("10.0.0.0/8",)),
    "GANGLION_WELL_KNOWN_SERVER": ("matrix.example.org:443", "matrix.example.org:443"),
    "GANGLION_ROUTES": ("/srv/routes.yaml", "/srv/routes.yaml"),
    "GANGLION_INITIAL_SYNCS": ("5", 5),
    "GANGLION_TRACE_HEADERS": ("yes", True),
    "GANGLION_TEST_MODE": ("yes", True),
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
    "UID": ("1000", 1000),
    "GID": ("1001", 1001),
}


def value(chosen: Settings, name: str) -> object:
    """What a variable is read as."""
    (field,) = (field for field, variable in variables() if variable.name == name)
    return getattr(chosen, field)


def refused_alone(environ: Mapping[str, str], expected: str) -> None:
    assert problems(lambda: settings(**environ)) == [expected]


def test_an_empty_environment_gives_every_default() -> None:
    assert settings() == Settings()


def test_every_variable_is_tried_here() -> None:
    assert set(GIVEN) == {variable.name for _, variable in variables()}


def test_every_variable_is_read() -> None:
    chosen = settings(**{name: text for name, (text, _) in GIVEN.items()})
    assert {name: value(chosen, name) for name in GIVEN} == {
        name: expected for name, (_, expected) in GIVEN.items()
    }
    assert chosen.given == frozenset(GIVEN)


def test_every_value_here_differs_from_the_default() -> None:
    assert [
        name for name, (_, expected) in GIVEN.items() if value(Settings(), name) == expected
    ] == []


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    assert settings(SYNAPSE_SERVER_NAME=" example.org\n").server_name == "example.org"


@pytest.mark.parametrize("name", GIVEN)
def test_an_empty_variable_is_not_set(name: str) -> None:
    assert settings(**{name: ""}) == settings(**{name: " \n"}) == Settings()


def test_an_empty_name_of_a_file_is_not_set() -> None:
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
        said(name, f"is set, and so is {name}_FILE", f"set only one of {name} and {name}_FILE")
    ]


FILE_FIX = "give the path of a readable file that holds the secret alone"


def test_a_file_that_is_not_there() -> None:
    assert problems(lambda: settings(REDIS_PASSWORD_FILE="/no/such")) == [
        said(
            "REDIS_PASSWORD_FILE='/no/such'", "cannot be read: No such file or directory", FILE_FIX
        )
    ]


def test_a_file_with_nothing_in_it() -> None:
    refused = problems(lambda: from_environ({"REDIS_PASSWORD_FILE": "/f"}, lambda _: " \n"))
    assert refused == [said("REDIS_PASSWORD_FILE='/f'", "is empty", FILE_FIX)]


def test_a_file_that_is_no_text() -> None:
    refused = problems(
        lambda: from_environ({"REDIS_PASSWORD_FILE": "/f"}, lambda _: b"\xff".decode())
    )
    assert refused == [said("REDIS_PASSWORD_FILE='/f'", "does not hold text", FILE_FIX)]


@pytest.mark.parametrize("name", PLAIN)
def test_only_secrets_come_from_files(name: str) -> None:
    refused_alone(
        {f"{name}_FILE": "/f"},
        said(
            f"{name}_FILE",
            "is not a variable of Ganglion: only a secret can come from a file",
            f"set {name} itself",
        ),
    )


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_in_no_message(name: str) -> None:
    for environ in (
        {name: "tell tale"},
        {name: "tell tale", f"{name}_FILE": "/f"},
        {f"{name}X": "tell tale"},
        {f"{name}_FILE": "/f"},
    ):
        refused = problems(lambda given=environ: from_environ(given, lambda _: "tell tale"))  # type: ignore[misc]
        assert len(refused) == 1
        assert "tale" not in refused[0]


def test_a_secret_with_a_space_in_it() -> None:
    assert problems(lambda: settings(SYNAPSE_FORM_SECRET="a b")) == [
        said(
            "SYNAPSE_FORM_SECRET",
            "holds a space, a control character or a letter outside ASCII",
            "use letters, digits and punctuation only, such as the output of: openssl rand -hex 32",
        )
    ]


def test_two_names_of_one_variable() -> None:
    assert settings(SYNAPSE_WORKER_TYPES="pusher").workers == "pusher"
    assert settings(SYNAPSE_WORKER_TYPES="pusher", WORKERS="pusher ").workers == "pusher"
    assert settings(SYNAPSE_DATA_DIR="/srv").data == "/srv"
    assert problems(lambda: settings(SYNAPSE_WORKER_TYPES="pusher", WORKERS="typing")) == [
        said(
            "WORKERS and SYNAPSE_WORKER_TYPES",
            "are two names of one variable, set to different values",
            "set only WORKERS",
        )
    ]


def test_repeats_add_up_under_synapses_own_name_alone() -> None:
    assert not settings(WORKERS="a").repeats_add_up
    assert not settings(WORKERS="a", SYNAPSE_WORKER_TYPES=" ").repeats_add_up
    assert settings(SYNAPSE_WORKER_TYPES="a").repeats_add_up


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SYNAPSE_SERVERNAME", "SYNAPSE_SERVER_NAME"),
        ("POSTGRES_PASWORD_FILE", "POSTGRES_PASSWORD_FILE"),
        ("REDIS_HOSTNAME", "REDIS_HOST"),
        ("GANGLION_DATADIR", "GANGLION_DATA"),
        # Outside our prefixes only what is almost right is taken for ours.
        ("WORKER", "WORKERS"),
        ("HTTP_PORTS", "HTTP_PORT"),
        ("TRUSTED_PROXY", None),
        ("HTTP_PROXY", None),
        ("PATH", None),
        ("PORT", None),
    ],
)
def test_misspelt_names(name: str, near: str | None) -> None:
    expected = [said(name, "is not a variable of Ganglion", f"did you mean {near}?")]
    assert problems(lambda: settings(**{name: "leak"})) == (expected if near else [])


def test_a_name_of_ours_that_is_like_no_other() -> None:
    assert problems(lambda: settings(REDIS_XYZZY_PLUGH_QUUX="1")) == [
        said(
            "REDIS_XYZZY_PLUGH_QUUX",
            "is not a variable of Ganglion",
            "see docs/variables.md for all of them",
        )
    ]


def test_what_kubernetes_adds_for_each_service_is_ignored() -> None:
    for service in ("REDIS", "POSTGRES_MAIN", "SYNAPSE", "GANGLION", "GANGLION_METRICS"):
        links = {
            f"{service}_SERVICE_HOST": "10.0.0.1",
            f"{service}_SERVICE_PORT": "6379",
            f"{service}_SERVICE_PORT_HTTP": "80",
            f"{service}_PORT_6379_TCP": "tcp://10.0.0.1:6379",
            f"{service}_PORT_6379_TCP_PROTO": "tcp",
            f"{service}_PORT_6379_TCP_ADDR": "10.0.0.1",
        }
        if service != "REDIS":
            links[f"{service}_PORT"] = "tcp://10.0.0.1:6379"
        assert settings(**links) == Settings()


def test_what_kubernetes_puts_into_a_variable_of_ours_is_told() -> None:
    assert problems(lambda: settings(REDIS_HOST="redis", REDIS_PORT="tcp://10.0.0.1:6379")) == [
        said(
            "REDIS_PORT='tcp://10.0.0.1:6379'",
            "is a Kubernetes service link, not a port",
            "set enableServiceLinks: false in the pod, or give the port itself",
        )
    ]


@pytest.mark.parametrize(
    ("given", "missing"),
    [("SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"), ("SYNAPSE_TLS_KEY", "SYNAPSE_TLS_CERT")],
)
def test_half_a_certificate(given: str, missing: str) -> None:
    refused_alone(
        {given: "/tls.pem"},
        said(f"{given}='/tls.pem'", f"is set without {missing}", f"set {missing} too, or neither"),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("POSTGRES_PORT", "5433"),
        ("POSTGRES_SSLMODE", "require"),
        ("REDIS_PORT", "6380"),
        ("REDIS_DBID", "1"),
        ("REDIS_TLS", "yes"),
    ],
)
def test_what_only_an_external_server_has(name: str, text: str) -> None:
    host = f"{name.partition('_')[0]}_HOST"
    refused_alone(
        {name: text},
        said(
            name,
            f"means nothing without {host}: the server is embedded",
            f"set {host} for an external server, or unset {name}",
        ),
    )


def test_an_external_database_needs_a_password_unless_it_is_on_a_socket() -> None:
    refused_alone(
        {"POSTGRES_HOST": "db"},
        said(
            "POSTGRES_HOST='db'",
            "is set without a password for its user",
            "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE",
        ),
    )
    assert not settings(POSTGRES_HOST="/run/postgresql").embedded_postgres
    assert not settings(POSTGRES_HOST="db", POSTGRES_PASSWORD="x").embedded_postgres


def test_more_connections_at_least_than_at_most() -> None:
    refused_alone(
        {"POSTGRES_CP_MIN": "11", "POSTGRES_CP_MAX": "10"},
        said(
            "POSTGRES_CP_MIN='11'",
            "is more than POSTGRES_CP_MAX, 10",
            "lower POSTGRES_CP_MIN or raise POSTGRES_CP_MAX",
        ),
    )


TLS = {"SYNAPSE_TLS_CERT": "/cert", "SYNAPSE_TLS_KEY": "/key"}


def test_one_port_for_two_uses() -> None:
    same = said("FEDERATION_PORT='8008'", "is the same port as HTTP_PORT", "give each its own port")
    refused_alone({"FEDERATION_PORT": "8008", **TLS}, same)
    control = [
        said("CONTROL_PORT='8448'", f"is the same port as {other}", "give each its own port")
        for other in ("HTTP_PORT", "FEDERATION_PORT")
    ]
    every = {"HTTP_PORT": "8448", "CONTROL_PORT": "8448", "SYNAPSE_ENABLE_METRICS": "yes", **TLS}
    assert problems(lambda: settings(**every)) == [
        said("FEDERATION_PORT='8448'", "is the same port as HTTP_PORT", "give each its own port"),
        *control,
    ]


def test_a_port_that_is_not_opened_is_nobodys() -> None:
    assert settings(FEDERATION_PORT="8008", CONTROL_PORT="8008").http_port == 8008


def test_all_problems_are_told_at_once() -> None:
    assert problems(
        lambda: settings(
            SYNAPSE_SERVERNAME="x",
            HTTP_PORT="no",
            SYNAPSE_REPORT_STATS="maybe",
            POSTGRES_CP_MIN="50",
            POSTGRES_CP_MAX="10",
            REDIS_PASSWORD_FILE="/no/such",
        )
    ) == [
        said(
            "SYNAPSE_SERVERNAME",
            "is not a variable of Ganglion",
            "did you mean SYNAPSE_SERVER_NAME?",
        ),
        said("SYNAPSE_REPORT_STATS='maybe'", "is neither yes nor no", "write yes or no"),
        said(
            "HTTP_PORT='no'",
            "is not a whole number from 1 to 65535",
            "write a number from 1 to 65535",
        ),
        said(
            "REDIS_PASSWORD_FILE='/no/such'", "cannot be read: No such file or directory", FILE_FIX
        ),
        said(
            "POSTGRES_CP_MIN='50'",
            "is more than POSTGRES_CP_MAX, 10",
            "lower POSTGRES_CP_MIN or raise POSTGRES_CP_MAX",
        ),
    ]


def test_a_mistake_is_told_once_not_with_all_that_follows_from_it() -> None:
    """Each of these would be a contradiction if the value that cannot be used were not set."""
    for environ in (
        {"POSTGRES_HOST": "d b", "POSTGRES_PORT": "5433"},
        {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD": "a b"},
        {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD_FILE": "/no/such"},
        {"REDIS_HOST": "r,r", "REDIS_TLS": "yes", "REDIS_DBID": "2"},
        {"SYNAPSE_TLS_CERT": "cert.pem", "SYNAPSE_TLS_KEY": "/key.pem"},
        {"HTTP_PORT": "eighty", "FEDERATION_PORT": "8008", **TLS},
        {"POSTGRES_CP_MAX": "many", "POSTGRES_CP_MIN": "20"},
    ):
        assert len(problems(lambda given=environ: settings(**given))) == 1  # type: ignore[misc]
