"""Fuzzers: of the environment, of WORKERS, and of every file that an operator writes.

Whatever they contain, `check` and `render` use it or refuse it with the reasons.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ganglion.settings.environment import OUR_PREFIXES
from ganglion.settings.owned_options import OWNED
from ganglion.settings.synapse_image import UNSUPPORTED_BY_NAME
from ganglion.settings.variables import variables
from ganglion.topology.roles import BY_NAME, LEGACY_APPS, PRESETS, SHORTHANDS
from tests.fuzzing import BEHIND, MARK, Outcome, broken_out, fuzz, holds_up, state
from tests.unit.test_variables import GIVEN

ROWS = [row for _, row in variables()]
NAMES = sorted(
    {name for row in ROWS for name in (*row.names, *row.test_mode_aliases)}
    | {f"{row.name}_FILE" for row in ROWS}
    | set(UNSUPPORTED_BY_NAME)
    | {f"{prefix}{end}" for prefix in OUR_PREFIXES for end in ("X", "PORT_80_TCP", "SERVICE_HOST")}
    | {"SYNAPSE_CACHE_FACTOR_GET_USER", "WORKER", "PATH", "HTTP_PROXY", "Workers", "UID", ""}
)
# Texts that some variable, option or file accepts, or nearly.
PLAUSIBLE = st.sampled_from(
    [
        "yes", "no", "1", "0", "-1", "8008", "65536", "50M", "1000T", "0.5", "1e9", "nan", "60s",
        "999999999d", "*", "::1", "0.0.0.0/0", "private", "all", "10.0.0.0/8, ::/0", "localhost",
        "example.org:8448", "https://example.org/", "/", "/data", "/dev/zero", "/proc/self/mem",
        "/dev/null", "/etc/passwd", "/" + "a" * 256, "/x\0y", "full",
        "debug", "require", "sqlite", "ed25519 a_b " + "B" * 43, "ed25519:a_b", "turn:a,turn:b",
        "\udcff", "é", "٣", "¼",
        "\u2028", "{}", "[]", "None", "../..", "~", "$HOME", "@a:b", "!a:b",
        "9" * 400, "0x10", "1_000", "  ", "\t\n",
    ]
)  # fmt: skip
# Texts as long as this, which the names of strategies would hold otherwise.
LONG = st.sampled_from([451, 3000, 70_000]).map(lambda length: "/a" * length)
TEXTS = st.one_of(PLAUSIBLE, broken_out(), st.text(max_size=8), st.integers().map(str), LONG)

WORDS = [*BY_NAME, *SHORTHANDS, *PRESETS, *LEGACY_APPS, "auto", "none", "main", "nginx", "a-b"]
ENTRY = st.tuples(
    st.one_of(st.just(""), st.sampled_from(["a=", "a-b=", "main="]), TEXTS.map("{}=".format)),
    st.lists(st.sampled_from([*BY_NAME, *SHORTHANDS]), min_size=1, max_size=2).map("+".join),
    st.sampled_from(["", "", ":2", "*3", ":100", ":0"]),
).map("".join)
ENTRIES = st.one_of(
    st.lists(st.one_of(st.sampled_from(WORDS), ENTRY), max_size=3).map(", ".join),
    st.lists(st.one_of(st.sampled_from([*WORDS, *"+=:*,\n 29"]), TEXTS), max_size=8).map("".join),
)


@contextmanager
def place() -> Iterator[Path]:
    """A directory with an empty data directory."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/tmp") as name:
        Path(name, "data").mkdir()
        Path(name).chmod(0o755)
        yield Path(name)


def environment(root: Path, **more: str) -> dict[str, str]:
    return {"GANGLION_DATA": f"{root}/data", "GANGLION_RUN": f"{root}/run", **more}


def variable() -> st.SearchStrategy[tuple[str, str]]:
    """A variable with a value that it takes, with that value and more behind it, or with any."""
    accepted = [(name, text) for name, (text, _) in GIVEN.items()]
    return st.one_of(
        st.sampled_from(accepted),
        st.tuples(st.sampled_from(accepted), BEHIND).map(
            lambda both: (both[0][0], both[0][1] + both[1])
        ),
        st.tuples(st.sampled_from([name for name, _ in accepted]), PLAUSIBLE),
        st.tuples(st.sampled_from(NAMES), TEXTS),
    )


@fuzz(100)
@given(st.lists(variable(), min_size=1, max_size=4).map(dict))
@example({"SYNAPSE_FORM_SECRET_FILE": "/dev/zero"})
@example({"WORKERS": f"a\n[program:{MARK}]=pusher"})
def test_any_environment(variables: dict[str, str]) -> None:
    with place() as root:
        holds_up(root, environment(root) | variables)


@fuzz(50)
@given(ENTRIES)
@example("client_reader:100, synchrotron:100")
def test_any_workers(text: str) -> None:
    with place() as root:
        # tests/security/unit/test_injection.py compares the structure: a text can be a name here.
        holds_up(root, environment(root, WORKERS=text, GANGLION_MEMORY="64G"), marked=False)


# Options that Ganglion reads, and parts of them.
OPTIONS = sorted(
    {row.option for row in OWNED}
    | {
        "server_name", "signing_key", "signing_key_path", "old_signing_keys", "media_store_path",
        "max_upload_size", "report_stats", "public_baseurl", "enable_registration", "caches",
        "event_cache_size", "turn_uris", "macaroon_secret_key_path", "form_secret", "user_consent",
        "experimental_features", "matrix_authentication_service", "email", "templates", "ip_range",
        "tls_certificate_path", "oidc_providers", "saml2_config", "media_storage_providers", "x",
        "recaptcha_private_key_path", "registration_shared_secret", "http_proxy", "no_proxy_hosts",
    }
)  # fmt: skip
PARTS = st.sampled_from(
    [
        "name", "args", "host", "port", "user", "password", "dbname", "database", "sslmode", "path",
        "enabled", "use_tls", "dbid", "username", "password_path", "module", "config", "directory",
        "resources", "names", "compress", "additional_resources", "request_id_header", "type",
        "bind_addresses", "tls", "global_factor", "template_dir", "msc3861", "cp_min", "key",
        "allow_unsafe_locale", "data_stores", "metadata", "sp_config", "ca_file", "x_path",
        "ed25519:a",
        "txn_limit", "client_secret_path", "custom_template_directory",
    ]
)  # fmt: skip
# YAML's other types: dates, numbers that are none, bytes, sets.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=4),
    st.sets(st.integers(), max_size=2),
    st.sampled_from(
        ["psycopg2", "sqlite3", "manhole", "http", "metrics", "federation", "file_system"]
    ),
)
VALUES = st.recursive(
    st.one_of(ODD, TEXTS.filter(lambda text: text.isprintable())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(PARTS, st.integers()), inner, max_size=4),
    ),
    max_leaves=8,
)
KEYS = st.one_of(st.sampled_from(OPTIONS), st.sampled_from(OPTIONS), st.integers(), st.dates())
HOMESERVER = st.dictionaries(KEYS, VALUES, max_size=5)


@fuzz(100)
@given(
    HOMESERVER,
    HOMESERVER,
    st.dictionaries(
        st.sampled_from(["GANGLION_TEST_MODE", "SYNAPSE_ENABLE_METRICS", "SYNAPSE_TLS_CERT"]),
        st.just("yes"),
    ),
)
@example({"app_service_config_files": [{"a": "b"}]}, {}, {})
@example(
    {"media_store_path": "a" * 300}, {"listeners": [{"port": {}}]}, {"GANGLION_TEST_MODE": "yes"}
)
def test_any_options(first: Any, second: Any, variables: dict[str, str]) -> None:
    with place() as root:
        (root / "data" / "homeserver.yaml").write_text(yaml.dump(first, allow_unicode=True))
        (root / "data" / "homeserver.d").mkdir()
        (root / "data" / "homeserver.d" / "a.yaml").write_text(yaml.dump(second))
        holds_up(root, environment(root) | variables)


TOKENS = st.sampled_from(
    [
        "a", "b: ", "- ", "\n", "\n  ", "[", "]", "{", "}", ",", "? ", ": ", "&a ", "*a", "<<: ",
        "!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!str ",
        "!!python/name:os.system ", "|\n", ">\n", '"', "'", "\\ud800", "\\x00", "\t", "# ", "---\n",
        "...\n", "%YAML 1.1\n", "2026-01-01", "0x1", "1:1", ".nan", "~", "\x07", "\ufeff",
        "é", "😀",
        "server_name: ", "database: ", "listeners: ", "routes: ", "path: ", "/x{9}",
    ]
)  # fmt: skip
FILES = (
    "homeserver.yaml", "homeserver.d/x.yaml", "routes.yaml", "server.json", "appservices/a.yaml",
    "example.org.signing.key", "localhost.log.config", "secrets/form_secret",
)  # fmt: skip


@fuzz(60)
@given(
    st.sampled_from(FILES),
    st.one_of(
        st.lists(TOKENS, max_size=14).map(lambda found: "".join(found).encode()), st.binary()
    ),
)
@example("homeserver.yaml", b"[" * 50_000)
@example("server.json", b"[" * 100_000)
@example("routes.yaml", b"- a\n" * 300_000)
@example("homeserver.d/x.yaml", b'a: "\\ud800"')
def test_any_file(name: str, content: bytes) -> None:
    with place() as root:
        path = root / "data" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        holds_up(root, environment(root))


PATHS_OF_ROUTES = st.one_of(
    st.sampled_from(
        [
            "/x", "/x{70000}", "/((a{1000}){100}){10}", "/[[a]", "/(a)\\1", "/x(?:a|b)*", "/{}",
            '/";', "/$", "/a$b", "/x#", "/[a-\\d]", "/(", "/x**", "/.*.*.*.*", "/\\",
        ]
    ),
    BEHIND.map("/x{}".format),
    LONG,
    st.text(alphabet="/ab.*+?|()[]{}^$\\-wd:=!<0,9", max_size=16).map("/x".__add__),
)  # fmt: skip
ROUTES = st.one_of(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["mine", "other"]),
            "path": PATHS_OF_ROUTES,
            "roles": st.just(["main"]),
        },
        optional={
            "methods": st.sampled_from([["GET"], [], ["PUT", "POST"]]),
            "key": st.sampled_from(["user", "room", "none"]),
        },
    ),
    st.dictionaries(
        st.sampled_from(["name", "moves", "methods", "path", "roles", "key", "x"]),
        st.one_of(VALUES, st.sampled_from(["mine", "sync", "client_reads", "user"])),
        max_size=6,
    ),
)
PINS = st.one_of(
    st.fixed_dictionaries(
        {
            "room": st.one_of(st.just("!a:b"), BEHIND.map("!a{}:b".format)),
            "worker": st.just("client_reader1"),
        }
    ),
    st.dictionaries(st.sampled_from(["user", "room", "worker", "x"]), VALUES, max_size=3),
)


@fuzz(80)
@given(st.lists(ROUTES, max_size=2), st.lists(PINS, max_size=1))
@example([{"name": "mine", "path": "/x{70000}", "roles": ["main"]}], [])
@example([{"name": "mine", "path": '/"; } } http {', "roles": ["main"]}], [])
def test_any_routes(routes: list[Any], pins: list[Any]) -> None:
    with place() as root:
        path = root / "data" / "routes.yaml"
        path.write_text(yaml.dump({"routes": routes, "pins": pins}, allow_unicode=True))
        holds_up(root, environment(root, WORKERS="client_reader, synchrotron"))


RECORDS = st.dictionaries(
    st.sampled_from(
        [
            "format", "server_name", "test_mode", "signing_key", "database", "versions", "workers",
            "x",
        ]
    ),
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=4), st.just("localhost"),
        st.just(1),
        st.dictionaries(st.sampled_from(["kind", "place", "name", "role"]), st.sampled_from(
            ["embedded", "external", "sqlite", "", "synapse"])),
        st.lists(st.integers(), max_size=1),
    ),
)  # fmt: skip


@fuzz(40)
@given(RECORDS)
def test_any_record(record: dict[str, Any]) -> None:
    with place() as root:
        values = {"format": 1, "server_name": "localhost", **record}
        (root / "data" / "server.json").write_text(json.dumps(values))
        holds_up(root, environment(root))


PATHS = st.one_of(
    TEXTS,
    TEXTS.map("/_matrix/client/v3/sync?access_token=syt_{}".format),
    TEXTS.map("/_matrix/client/v3/rooms/!{}/messages".format),
    st.lists(
        st.sampled_from(
            ["/", "_matrix", "client", "v3", "%2f", "..", "?", "user_id=@a:b", "&", "\0", "é"]
        ),
        max_size=8,
    ).map("".join),
)


@fuzz(50)
@given(st.sampled_from(["GET", "PUT", "x", "", "GET\n", "\udcff"]), PATHS, TEXTS)
@example("GET", "/\udcff", "")
@example("GET", "/_matrix/client/v3/sync?since=1", "€")
@example("GET", "/_matrix/client/v3/sync?access_token=€", "")
def test_any_request_to_explain(method: str, path: str, header: str) -> None:
    with place() as root:
        words = ("explain", f"--header=Authorization: Bearer {header}", "--", method, path)
        found = Outcome(*words, environ=environment(root, WORKERS="small"))
        assert found.status in (0, 2), found.err
        # As standard output takes it.
        found.out.encode()


@pytest.mark.parametrize("output", ["\0", "a" * 300, "/a" * 3000, "x\0/y", "file/x", "loop"])
def test_a_directory_that_cannot_be_rendered_into(output: str) -> None:
    with place() as root:
        (root / "file").touch()
        (root / "loop").symlink_to("loop")
        before = state(root)
        found = Outcome("render", f"--output={root}/{output}", environ=environment(root))
        assert found.status == 2, found.err
        assert found.err.startswith("ganglion: 1 problem\n--output=")
        assert state(root) == before
