"""Names and contradictions of variables, each with the whole text of its problem."""

from collections.abc import Mapping

import pytest

from ganglion.settings.variables import Settings
from tests.plans import problems, said, settings


def assert_problem(environ: Mapping[str, str], expected: str) -> None:
    assert problems(lambda: settings(**environ)) == [expected]


FILE_FIX = "give the path of a readable file that contains only the secret"


def test_aliases() -> None:
    assert settings(SYNAPSE_WORKER_TYPES="pusher").workers == "pusher"
    assert settings(SYNAPSE_WORKER_TYPES="pusher", WORKERS="pusher ").workers == "pusher"
    assert settings(SYNAPSE_DATA_DIR="/srv").data == "/srv"
    assert problems(lambda: settings(SYNAPSE_WORKER_TYPES="pusher", WORKERS="typing")) == [
        said(
            "WORKERS and SYNAPSE_WORKER_TYPES",
            "are names of the same variable but have different values",
            "set only WORKERS",
        )
    ]


def test_repeats_add_up_only_in_synapse_worker_types() -> None:
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
        # Without one of our prefixes, only a very similar name counts as a misspelling.
        ("WORKER", "WORKERS"),
        ("HTTP_PORTS", "HTTP_PORT"),
        ("TRUSTED_PROXY", None),
        ("HTTP_PROXY", None),
        ("PATH", None),
        ("PORT", None),
    ],
)
def test_misspelled_names(name: str, near: str | None) -> None:
    expected = [said(name, "unknown variable", f"did you mean {near}?")]
    assert problems(lambda: settings(**{name: "leak"})) == (expected if near else [])


def test_an_unknown_name_with_one_of_our_prefixes() -> None:
    assert problems(lambda: settings(REDIS_XYZZY_PLUGH_QUUX="1")) == [
        said(
            "REDIS_XYZZY_PLUGH_QUUX",
            "unknown variable",
            "see docs/variables.md for the list",
        )
    ]


def test_variables_of_kubernetes_services_are_ignored() -> None:
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


def test_a_kubernetes_url_in_a_port_variable_has_its_own_message() -> None:
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
def test_a_certificate_without_its_key_or_the_reverse(given: str, missing: str) -> None:
    assert_problem(
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
def test_options_of_an_external_server_require_its_host(name: str, text: str) -> None:
    host = f"{name.partition('_')[0]}_HOST"
    assert_problem(
        {name: text},
        said(
            name,
            f"has no effect without {host}: the server is embedded",
            f"set {host} to use an external server, or unset {name}",
        ),
    )


def test_an_external_database_requires_a_password_unless_it_is_on_a_socket() -> None:
    assert_problem(
        {"POSTGRES_HOST": "db"},
        said(
            "POSTGRES_HOST='db'",
            "is set without the password of the database user",
            "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE",
        ),
    )
    assert not settings(POSTGRES_HOST="/run/postgresql").embedded_postgres
    assert not settings(POSTGRES_HOST="db", POSTGRES_PASSWORD="x").embedded_postgres


def test_the_minimum_of_connections_cannot_exceed_the_maximum() -> None:
    assert_problem(
        {"POSTGRES_CP_MIN": "11", "POSTGRES_CP_MAX": "10"},
        said(
            "POSTGRES_CP_MIN='11'",
            "is greater than POSTGRES_CP_MAX (10)",
            "lower POSTGRES_CP_MIN or raise POSTGRES_CP_MAX",
        ),
    )


TLS = {"SYNAPSE_TLS_CERT": "/cert", "SYNAPSE_TLS_KEY": "/key"}


def test_a_port_cannot_have_two_uses() -> None:
    same = said(
        "FEDERATION_PORT='8008'", "is the same port as HTTP_PORT", "use a different port for each"
    )
    assert_problem({"FEDERATION_PORT": "8008", **TLS}, same)
    control = [
        said("CONTROL_PORT='8448'", f"is the same port as {other}", "use a different port for each")
        for other in ("HTTP_PORT", "FEDERATION_PORT")
    ]
    every = {"HTTP_PORT": "8448", "CONTROL_PORT": "8448", "SYNAPSE_ENABLE_METRICS": "yes", **TLS}
    assert problems(lambda: settings(**every)) == [
        said(
            "FEDERATION_PORT='8448'",
            "is the same port as HTTP_PORT",
            "use a different port for each",
        ),
        *control,
    ]


def test_a_closed_port_does_not_collide() -> None:
    assert settings(FEDERATION_PORT="8008").http_port == 8008


def test_a_control_port_that_nobody_opens_does_not_collide() -> None:
    assert settings(CONTROL_PORT="8008", GANGLION_CONTROL="no").http_port == 8008


def test_a_token_needs_the_application_that_compares_it() -> None:
    assert_problem(
        {"CONTROL_TOKEN": "a-token", "GANGLION_CONTROL": "no", "SYNAPSE_ENABLE_METRICS": "yes"},
        said(
            "CONTROL_TOKEN",
            "is set together with GANGLION_CONTROL=no, and nothing would check it",
            "unset one of the two",
        ),
    )


def test_all_problems_are_reported_together() -> None:
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
            "unknown variable",
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
            "is greater than POSTGRES_CP_MAX (10)",
            "lower POSTGRES_CP_MIN or raise POSTGRES_CP_MAX",
        ),
    ]


def test_consequences_of_a_mistake_are_not_reported() -> None:
    """Each of these would be a contradiction if the invalid value were just unset."""
    for environ in (
        {"POSTGRES_HOST": "d b", "POSTGRES_PORT": "5433"},
        {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD": "a\nb"},
        {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD_FILE": "/no/such"},
        {"REDIS_HOST": "r,r", "REDIS_TLS": "yes", "REDIS_DBID": "2"},
        {"SYNAPSE_TLS_CERT": "cert.pem", "SYNAPSE_TLS_KEY": "/key.pem"},
        {"HTTP_PORT": "eighty", "FEDERATION_PORT": "8008", **TLS},
        {"POSTGRES_CP_MAX": "many", "POSTGRES_CP_MIN": "20"},
    ):
        assert len(problems(lambda given=environ: settings(**given))) == 1  # type: ignore[misc]
