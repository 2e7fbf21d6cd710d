"""No text in a variable, in WORKERS or in routes.yaml changes the structure of a rendered file.

A text is either rejected, or every file parses as it does with a harmless text, except for the text
itself: there is no directive, section, option or key more or less, and each value is complete.
"""

import string
from collections.abc import Mapping
from functools import cache, partial
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ganglion.errors import ConfigError
from ganglion.routing.operator_routes import interpret
from ganglion.settings.fix_names import ALL as ALL_FIXES
from ganglion.settings.variables import variables
from ganglion.topology.roles import BY_NAME, LEGACY_APPS, PRESETS, SHORTHANDS
from tests.plans import plan, rendered, topology_of
from tests.syntax import Directive, read_all

# Characters that end or begin something in one of the syntaxes.
SPECIAL = "\"'\\`;{}[]()<>$%#=,:*&|!?~@/ \t\r\n\0\x7f\x85\u2028é€-_.09aZ"
NASTY = st.one_of(
    st.text(alphabet=SPECIAL, max_size=12),
    st.text(max_size=4),
    st.sampled_from(
        [
            ";\n}\nserver { listen 1; }\n",
            "\n[program:evil]\ncommand=/bin/sh\n",
            " ;comment",
            " #comment",
            "%(ENV_HOME)s",
            "${HOME}$HOME$1",
            "\nevil: 1\n",
            "\\",
            "\\\\",
            '\\"',
            "'",
            "''",
            "\x00",
            "\r",
            "{{ run }}{% raw %}",
            "%0a",
            "::1%;}",
            "\nrequirepass x",
        ]
    ),
)

WORKERS = "synchrotron:2, media_repository, event_persister"
KEY = f"ed25519 a_harmless {'B' * 43}"
EMBEDDED = {
    "WORKERS": WORKERS,
    "SYNAPSE_TLS_CERT": "/cert",
    "SYNAPSE_TLS_KEY": "/key",
    "SYNAPSE_ENABLE_METRICS": "yes",
    "SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK": "yes",
}
EXTERNAL = {
    "WORKERS": WORKERS,
    "POSTGRES_HOST": "db",
    "POSTGRES_PASSWORD": "x",
    "REDIS_HOST": "redis",
    "REDIS_PASSWORD": "x",
    "SYNAPSE_USE_UNIX_SOCKET": "no",
}

PEM = "-----BEGIN {0}-----\n{1}\n-----END {0}-----"
PAIR = {
    "GANGLION_REPLICATION_CERT": PEM.format("CERTIFICATE", "harmless"),
    "GANGLION_REPLICATION_KEY": PEM.format("PRIVATE KEY", "harmless"),
}
PARTS = {
    **EXTERNAL,
    **PAIR,
    "GANGLION_ONLY": "main, nginx",
    "GANGLION_HOSTS": "*={process}",
    "SYNAPSE_SIGNING_KEY": KEY,
    **{
        f"SYNAPSE_{name}": "x"
        for name in ("MACAROON_SECRET_KEY", "FORM_SECRET", "WORKER_REPLICATION_SECRET")
    },
}

LETTERS = string.ascii_letters + string.digits
PATHS = st.text(alphabet=LETTERS + "._@+/=-", max_size=20).map("/".__add__)
PRINTABLE = st.text(alphabet=[chr(code) for code in range(33, 127)], min_size=1, max_size=40)
# Texts that YAML would not read as text.
WORDS = st.one_of(
    st.text(alphabet=LETTERS + "._-", min_size=1, max_size=20),
    st.sampled_from(
        ["yes", "no", "null", "1e3", "0x10", "0o17", "1_000", "2026-01-01", "on", "1.0"]
    ),
)
BODIES = st.text(alphabet=LETTERS + "+/=", min_size=1, max_size=40)
HOSTS = st.one_of(WORDS, st.ip_addresses().map(str))
SERVERS = st.one_of(HOSTS, HOSTS.map("{}:8448".format), HOSTS.map("[{}]:30".format))

# Each variable that is rendered as text: a harmless text, similar texts, and the other variables.
TEXTS: dict[str, tuple[str, st.SearchStrategy[str], Mapping[str, str]]] = {
    "SYNAPSE_SERVER_NAME": ("harmless.example", SERVERS, EMBEDDED),
    "SYNAPSE_PUBLIC_BASEURL": (
        "https://harmless.example/",
        HOSTS.map("https://{}/".format),
        EMBEDDED,
    ),
    "GANGLION_DATA": ("/harmless/data", PATHS, EMBEDDED),
    "GANGLION_RUN": ("/harmless/run", PATHS, EMBEDDED),
    "SYNAPSE_TLS_CERT": ("/harmless/cert", PATHS, EMBEDDED),
    "SYNAPSE_TLS_KEY": ("/harmless/key", PATHS, EMBEDDED),
    "GANGLION_WELL_KNOWN_SERVER": ("harmless.example:443", SERVERS, EMBEDDED),
    "POSTGRES_HOST": ("harmless.example", st.one_of(HOSTS, PATHS), EXTERNAL),
    "POSTGRES_DB": ("harmless_db", WORDS, EXTERNAL),
    "POSTGRES_USER": ("harmless_user", WORDS, EXTERNAL),
    "REDIS_HOST": ("harmless.example", HOSTS, EXTERNAL),
    "SYNAPSE_SIGNING_KEY": (KEY, WORDS.map(f"ed25519 {{}} {'C' * 43}".format), EMBEDDED),
    **{
        name: (PEM.format(label, "another"), BODIES.map(partial(PEM.format, label)), PARTS)
        for name, label in (
            ("GANGLION_REPLICATION_CERT", "CERTIFICATE"),
            ("GANGLION_REPLICATION_KEY", "PRIVATE KEY"),
            ("GANGLION_REPLICATION_CA", "CERTIFICATE"),
        )
    },
    **{
        name: ("harmless-secret", PRINTABLE, base)
        for name, base in (
            ("POSTGRES_PASSWORD", EMBEDDED),
            ("REDIS_PASSWORD", EMBEDDED),
            ("SYNAPSE_MACAROON_SECRET_KEY", EMBEDDED),
            ("SYNAPSE_FORM_SECRET", EMBEDDED),
            ("SYNAPSE_REGISTRATION_SHARED_SECRET", EMBEDDED),
            ("SYNAPSE_WORKER_REPLICATION_SECRET", EMBEDDED),
            ("CONTROL_TOKEN", EMBEDDED),
            ("SYNAPSE_TURN_SECRET", EMBEDDED),
            ("SYNAPSE_RECAPTCHA_PUBLIC_KEY", EMBEDDED),
            ("SYNAPSE_RECAPTCHA_PRIVATE_KEY", EMBEDDED),
        )
    },
}
# Text that no rendered file contains unchanged. WORKERS has its own test below.
ELSEWHERE = {"WORKERS", "GANGLION_ROUTES", "SYNAPSE_AS_REGISTRATION_DIR"}
ELSEWHERE |= {"GANGLION_REPLACED_SIGNING_KEY", "GANGLION_SWITCH_TEST_MODE"}
ELSEWHERE |= {"SYNAPSE_CONFIG_PATH", "SYNAPSE_CONFIG_DIR", "GANGLION_COMPLEMENT"}
ELSEWHERE |= {"GANGLION_BACKUP"}
ELSEWHERE |= {"SYNAPSE_HTTP_PROXY", "SYNAPSE_HTTPS_PROXY", "SYNAPSE_NO_PROXY"}
ROWS = {row.name: row for _, row in variables()}
SECRETS = {name for name, row in ROWS.items() if row.secret}


def attempt(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Parse all files. Returns None if the environment is rejected."""
    try:
        return read_all(rendered(environ))
    except ConfigError:
        return None


@cache
def harmless(name: str) -> dict[str, Any]:
    text, _, base = TEXTS[name]
    found = attempt({**base, name: text})
    assert found is not None
    return found


def replaced(value: Any, before: str, after: str) -> Any:
    """Replace a text in parsed files."""
    if isinstance(value, str):
        return value.replace(before, after)
    if isinstance(value, Mapping):
        return {
            replaced(key, before, after): replaced(item, before, after)
            for key, item in value.items()
        }
    if isinstance(value, Directive):
        words = tuple(word.replace(before, after) for word in value.words)
        block = None if value.block is None else tuple(replaced(value.block, before, after))
        return Directive(words=words, block=block)
    if isinstance(value, list | tuple):
        return [replaced(item, before, after) for item in value]
    return value


def as_lists(value: Any) -> Any:
    """Convert parsed files to the types that replaced() returns."""
    return replaced(value, "", "")


def texts_for(name: str) -> st.SearchStrategy[str]:
    """Make texts that are nasty, nearly valid, or valid."""
    text, plausible, _ = TEXTS[name]
    cuts = st.integers(0, len(text))
    spoilt = st.builds(lambda cut, nasty: text[:cut] + nasty + text[cut:], cuts, NASTY)
    return st.one_of(NASTY, spoilt, plausible, st.tuples(plausible, NASTY).map("".join))


def test_every_text_variable_is_in_the_table() -> None:
    text = {
        name for name, row in ROWS.items() if isinstance(row.default, str) or row.default is None
    }
    # Their parsers accept only numbers or a few words.
    few = {"SYNAPSE_LOG_LEVEL", "POSTGRES_SSLMODE", "BIND_ADDRESS"}
    few |= {"GANGLION_MEMORY", "GANGLION_CPUS", "POSTGRES_CP_MIN", "POSTGRES_CP_MAX"}
    few |= {
        "GANGLION_POSTGRES_UPGRADE",
        "GANGLION_ACCESS_LOG",
        "GANGLION_LOG_FORMAT",
        "GANGLION_HSTS",
        "SYNAPSE_NO_TLS",
        "SYNAPSE_COMPLEMENT_DATABASE",
        "UID",
        "GID",
    }
    few |= {"SYNAPSE_CACHE_FACTOR", "SYNAPSE_EVENT_CACHE_SIZE", "CONTROL_BIND_ADDRESS"}
    assert text - few == set(TEXTS) | ELSEWHERE


@pytest.mark.parametrize("name", TEXTS)
def test_the_harmless_text_is_rendered(name: str) -> None:
    text = TEXTS[name][0]
    assert replaced(harmless(name), text, "X") != harmless(name)


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=30)
@given(data=st.data())
def test_a_text_does_not_change_the_structure(name: str, data: st.DataObject) -> None:
    text, _, base = TEXTS[name]
    nasty = data.draw(texts_for(name))
    found = attempt({**base, name: nasty})
    if found is None or not nasty.strip():
        return
    value = ROWS[name].parse(nasty.strip())
    assert as_lists(found) == replaced(harmless(name), text, value)


@settings(max_examples=200)
@given(name=st.sampled_from(sorted(SECRETS)), nasty=st.text(min_size=9), near=st.booleans())
def test_the_message_for_a_rejected_secret_does_not_contain_it(
    name: str, nasty: str, *, near: bool
) -> None:
    # No secret may contain a control character; a password may contain anything else.
    text = "kept\x01quiet" + nasty
    with pytest.raises(ConfigError) as rejected:
        rendered({f"{name}{'X' if near else ''}": text})
    assert "quiet" not in str(rejected.value)


OTHERS = sorted(set(ROWS) - set(TEXTS) - ELSEWHERE - SECRETS)
VALUES = st.one_of(
    NASTY,
    st.integers(-1, 70000).map(str),
    st.sampled_from(["yes", "no", "50M", "debug", "require", "*", "60s", "private", "all"]),
    st.ip_addresses().map(str),
    st.lists(st.ip_addresses().map(lambda address: str(ip_network(address))), max_size=3).map(
        ",".join
    ),
    st.tuples(st.sampled_from(["::1", "[::1]", "10.0.0.0/8", "fe80::%", "8080"]), NASTY).map(
        "".join
    ),
)


def vocabulary(tree: Directive, above: str = "") -> set[str]:
    """Return the path of every directive of nginx, except the rows of maps."""
    found: set[str] = set()
    for directive in tree.block or ():
        path = f"{above} {directive.name}"
        found.add(path)
        if directive.name not in ("map", "geo"):
            found |= vocabulary(directive, path)
    return found


@cache
def everything() -> set[str]:
    """Return the directives of a configuration with every feature."""
    environ = {
        **EMBEDDED,
        "WORKERS": "full, synchrotron:2",
        "TRUSTED_PROXIES": "private",
        "GANGLION_ADMIN_NETWORKS": "private",
        "GANGLION_TRACE_HEADERS": "yes",
        "GANGLION_WELL_KNOWN_SERVER": "example.org",
    }
    open_metrics = {**environ, "GANGLION_CONTROL": "no"}
    both = (read_all(rendered(each)) for each in (environ, open_metrics))
    return set().union(*(vocabulary(files["nginx.conf"]) for files in both))


def keys(value: Any) -> Any:
    """Return the keys of nested mappings without their values."""
    if isinstance(value, Mapping):
        return {key: keys(item) for key, item in value.items()}
    return None


@settings(max_examples=250)
@given(name=st.sampled_from(OTHERS), text=VALUES)
@example("BIND_ADDRESS", "::1%;\n} http {")
@example("TRUSTED_PROXIES", "fe80::%x;}\n/64")
@example("GANGLION_ADMIN_NETWORKS", "::%a b c;/128")
def test_other_values_are_numbers_networks_or_words(name: str, text: str) -> None:
    found = attempt({**EMBEDDED, name: text})
    if found is None:
        return
    assert vocabulary(found["nginx.conf"]) <= everything()
    plain = read_all(rendered(EMBEDDED))
    if name not in ("SYNAPSE_ENABLE_METRICS", "GANGLION_TEST_MODE", "GANGLION_CONTROL"):
        assert found["supervisord.conf"].keys() == plain["supervisord.conf"].keys()
    if name != "GANGLION_TEST_MODE":
        assert keys(found["synapse/underrides.yaml"]) == keys(plain["synapse/underrides.yaml"])
    value = ROWS[name].parse(text.strip()) if text.strip() else ROWS[name].default
    if name == "SYNAPSE_TURN_URIS":
        assert found["synapse/underrides.yaml"]["turn_uris"] == list(value)
    elif name == "GANGLION_FIXES":
        assert set(value) <= set(ALL_FIXES)
    elif name == "CONTROL_HOSTS":
        assert all(set(host) <= set(LETTERS + ".-_:") for host in value)
    elif isinstance(value, tuple):
        assert all(str(ip_network(network)) == network for network in value)
        assert "%" not in "".join(value)


ENTRY_WORDS = st.sampled_from(
    [*BY_NAME, *SHORTHANDS, *PRESETS, *LEGACY_APPS, "name", "a-b", "a_b", "main", "nginx", "x" * 63]
)
PIECES = st.one_of(ENTRY_WORDS, st.sampled_from(list("+=:*,\n \t0123")), NASTY)
ENTRIES = st.one_of(
    st.lists(PIECES, max_size=10).map("".join),
    st.lists(
        st.tuples(
            st.one_of(st.just(""), ENTRY_WORDS.map("{}=".format), NASTY.map("{}=".format)),
            st.lists(ENTRY_WORDS, min_size=1, max_size=3).map("+".join),
            st.sampled_from(["", ":2", "*3", ":0", ":101"]),
        ).map("".join),
        max_size=4,
    ).map(", ".join),
)


@settings(max_examples=250)
@given(text=ENTRIES, unix=st.booleans())
@example(text="a\n[program:x]=pusher", unix=True)
@example(text="a;b=pusher", unix=True)
@example(text="$a=pusher", unix=True)
@example(text="%(x)s=pusher", unix=False)
def test_no_text_of_workers_makes_more_than_workers(text: str, *, unix: bool) -> None:
    environ = {**EMBEDDED, "WORKERS": text, "SYNAPSE_USE_UNIX_SOCKET": "yes" if unix else "no"}
    found = attempt(environ)
    if found is None:
        return
    names = [worker.name for worker in plan(environ).topology.workers]
    assert len(set(names)) == len(names)
    assert set("".join(names)) <= set(LETTERS + "_+-")
    programs = {"postgres", "redis", "main", "nginx", "control", *names}
    groups = {"postgres", "redis", "main", "nginx", *(["workers"] if names else [])}
    assert found["supervisord.conf"].keys() == {
        "supervisord",
        "unix_http_server",
        "supervisorctl",
        "rpcinterface:supervisor",
        *(f"program:{name}" for name in programs),
        *(f"group:{group}" for group in groups),
    }
    own = {path for path in found if path.startswith("synapse/workers/")}
    assert own == {f"synapse/workers/{name}.yaml" for name in names}
    for name in names:
        options = found[f"synapse/workers/{name}.yaml"]
        assert options["worker_name"] == name
        assert options.keys() <= {
            "worker_app",
            "worker_name",
            "worker_listeners",
            "worker_log_config",
            "enable_media_repo",
            "event_cache_size",
            "caches",
            "database",
        }
    assert vocabulary(found["nginx.conf"]) <= everything()


ROUTED = topology_of("client_reader, synchrotron:2, room_reader")
REGEX = st.one_of(
    st.text(alphabet="/ab.*+?|()[]{}^$\\-wd:=!<0,9", max_size=16).map("/x".__add__),
    NASTY.map("/_matrix/".__add__),
    NASTY,
)


@settings(max_examples=250)
@given(
    name=st.one_of(st.sampled_from(["mine", "sync", "main"]), NASTY),
    path=REGEX,
    user=st.one_of(st.just("@alice:example.org"), NASTY.map("@{}:example.org".format), NASTY),
    room=st.one_of(st.just("!a:example.org"), NASTY.map("!{}".format), NASTY),
)
@example("mine", '/"; } } http {', "@alice:example.org", "!a:b")
@example("mine", "/a\\", "@alice:example.org", "!a:b")
@example("mine", "/[[a]", "@alice:example.org", "!a:b")
@example("mine", "/a", "@alice:example.org", '!a";}')
@example("mine", "/a", "@alice:example.org", "!$a{b}")
def test_no_route_of_the_operators_makes_more_than_a_row(
    name: str, path: str, user: str, room: str
) -> None:
    wanted = {
        "routes": [{"name": name, "path": path, "roles": ["client_reader"], "key": "user"}],
        "pins": [
            {"user": user, "worker": "synchrotron1"},
            {"room": room, "worker": "room_reader1"},
        ],
    }
    try:
        routes = interpret(wanted, "routes.yaml", ROUTED)
    except ConfigError:
        return
    environ = {**EMBEDDED, "WORKERS": "client_reader, synchrotron:2, room_reader"}
    plain = read_all(rendered(environ))
    found = read_all(rendered(environ, routes=routes))
    assert vocabulary(found["maps.conf"]) == vocabulary(plain["maps.conf"])
    assert vocabulary(found["nginx.conf"]) <= everything() | vocabulary(plain["nginx.conf"]) | {
        " http server location proxy_pass",
        " http server location if",
    }
    first = next(
        table for table in found["maps.conf"].all("map") if "$ganglion_matched" in table.words
    )
    assert (f"~^[A-Z]+ {path}", name) in [row.words for row in first.block or ()]
