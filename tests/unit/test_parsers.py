"""Every parser with valid texts, and with invalid ones and the whole message."""

from collections.abc import Callable
from typing import Any

import pytest

from ganglion.settings import parsers
from ganglion.settings.variable import Variable
from ganglion.settings.variables import variables

Parser = Callable[[str], Any]


def rejection(parser: Parser, text: str) -> tuple[str, str]:
    """Return the message and the hint of a rejected text."""
    with pytest.raises(parsers.Invalid) as rejected:
        parser(text)
    assert str(rejected.value) == rejected.value.message
    return rejected.value.message, rejected.value.hint


@pytest.mark.parametrize(
    ("parser", "text", "value"),
    [
        *((parsers.boolean, text, True) for text in ("yes", "true", "on", "1", "y", "T", "YES")),
        *((parsers.boolean, text, False) for text in ("no", "False", "off", "0", "n", "f")),
        (parsers.size, "1", 1),
        (parsers.size, "50M", 50 * 1024**2),
        (parsers.size, "50 MiB", 50 * 1024**2),
        (parsers.size, "2kb", 2048),
        (parsers.size, "1G", 1024**3),
        (parsers.size, "1000T", 1000 * 1024**4),
        (parsers.duration, "90", 90.0),
        (parsers.duration, "500ms", 0.5),
        (parsers.duration, "1.5 m", 90.0),
        (parsers.duration, "2H", 7200.0),
        (parsers.duration, "1d", 86400.0),
        (parsers.port, "1", 1),
        (parsers.port, "65535", 65535),
        (parsers.port, "08008", 8008),
        (parsers.line, "any text, even €", "any text, even €"),
        (parsers.absolute_path, "/data", "/data"),
        (parsers.absolute_path, "//srv///data//", "/srv/data"),
        (parsers.absolute_path, "/a_b/c-d.e/f+g=h@i", "/a_b/c-d.e/f+g=h@i"),
        (parsers.absolute_path, "/a..b/...", "/a..b/..."),
        (parsers.host, "db", "db"),
        (parsers.host, "db_1.Example.org", "db_1.Example.org"),
        (parsers.host, "10.0.0.1", "10.0.0.1"),
        (parsers.host, "[::1]", "::1"),
        (parsers.host, "FD00::0:1", "fd00::1"),
        (parsers.host_or_directory, "/run/postgresql/", "/run/postgresql"),
        (parsers.host_or_directory, "db", "db"),
        (parsers.identifier, "synapse", "synapse"),
        (parsers.identifier, "_Synapse-2", "_Synapse-2"),
        (parsers.identifier, "matrix@example.postgres", "matrix@example.postgres"),
        (parsers.identifier, "1;ä", "1;ä"),
        (parsers.hosts_or_directories, "db1, 10.0.0.1,[::1],/run/pg", "db1,10.0.0.1,::1,/run/pg"),
        (parsers.ports, "5432", 5432),
        (parsers.ports, "5432, 5433", "5432,5433"),
        (parsers.password, "pä ss:\\'\"\U0001f511", "pä ss:\\'\"\U0001f511"),
        (parsers.server_name, "localhost", "localhost"),
        (parsers.server_name, "example.org:8448", "example.org:8448"),
        (parsers.server_name, "10.0.0.1", "10.0.0.1"),
        (parsers.server_name, "[::1]", "[::1]"),
        (parsers.server_name, "[fd00::1]:8448", "[fd00::1]:8448"),
        (parsers.base_url, "https://matrix.example.org", "https://matrix.example.org/"),
        (parsers.base_url, "http://[::1]:8008/a_b/", "http://[::1]:8008/a_b/"),
        (parsers.log_level, "debug", "DEBUG"),
        (parsers.log_level, "Warning", "WARNING"),
        (parsers.bind_address, "*", "*"),
        (parsers.bind_address, "127.0.0.1", "127.0.0.1"),
        (parsers.bind_address, "[::1]", "::1"),
        (parsers.bind_address, "::0", "::"),
        (parsers.networks, "10.0.0.0/8", ("10.0.0.0/8",)),
        (parsers.networks, "10.0.0.1, fd00::/8,", ("10.0.0.1/32", "fd00::/8")),
        (parsers.networks, "10.0.0.0/255.0.0.0, 10.0.0.0/8", ("10.0.0.0/8",)),
        (parsers.networks, "private", parsers.PRIVATE_NETWORKS),
        (
            parsers.networks,
            "10.0.0.0/8,private",
            ("10.0.0.0/8", "127.0.0.0/8", *parsers.PRIVATE_NETWORKS[2:]),
        ),
        (parsers.secret, "a", "a"),
        (
            parsers.secret,
            "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
            "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        ),
        (parsers.secret, "x" * 1024, "x" * 1024),
        (parsers.signing_key, f"ed25519 a_AbCd {'A' * 43}", f"ed25519 a_AbCd {'A' * 43}"),
        (parsers.key_id, "ed25519:a_AbCd", "ed25519:a_AbCd"),
    ],
)
def test_valid_texts(parser: Parser, text: str, value: object) -> None:
    assert parser(text) == value


YES_OR_NO = ("is neither yes nor no", "write yes or no")
NO_SIZE = ("is not a size", "write a whole number with K, M or G, such as 50M")
ZERO = ("is zero", "write a size of at least 1")
TOO_LARGE = ("is larger than nginx supports", "write a size of at most 1000T")
NO_DURATION = ("is not a duration", "write a number with s, m or h, such as 60s")
NO_NUMBER = ("is not a whole number from 2 to 4", "write a number from 2 to 4")
NO_PORT = ("is not a whole number from 1 to 65535", "write a number from 1 to 65535")
NO_LINE = ("contains a line break or a control character", "write it on one line")
NO_PATH = (
    "is not an absolute path of plain characters",
    "use a path that starts with / and has only letters, digits and . _ - + = @",
)
ROOT = ("is the root directory", "write a path below /")
NO_HOST = ("is not a host name or IP address", "write a host name such as db.example.org")
NO_KEY_ID = (
    "is not the ID of a signing key",
    "write the one in server.json, such as ed25519:a_AbCd",
)
NO_NAME = (
    "is not a plain name",
    "use letters, digits and punctuation without spaces, quotes and \\, at most 63 bytes",
)
# Bytes count, of which ä has two.
TOO_LONG = ("a" * 64, "ä" * 32)
NO_PASSWORD = (
    "is empty, too long or holds a control character",
    "use one line of at most 1024 characters, such as the output of: openssl rand -hex 32",
)
NO_SERVER = (
    "is not a Matrix server name",
    "write the domain behind the : of your user IDs, such as example.org",
)
NO_SERVER_PORT = ("has an invalid port", "use a port from 1 to 65535, or leave it out")
NO_SERVER_ADDRESS = ("is not a Matrix server name", "write an IPv6 address in [ ]")
NO_URL = ("is not a URL", "write a URL such as https://matrix.example.org/")
NO_LEVEL = ("is not a log level", "write one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
NO_ADDRESS = ("is not an IP address", "write * or an IP address such as 0.0.0.0")
NO_SECRET = (
    "contains a space, a control character or a non-ASCII character",
    "use letters, digits and punctuation only, such as the output of: openssl rand -hex 32",
)
NO_KEY = ("is not a signing key", "paste the one line of Synapse's SERVERNAME.signing.key file")


@pytest.mark.parametrize(
    ("parser", "text", "expected"),
    [
        *(
            (parsers.boolean, text, YES_OR_NO)
            for text in ("", "maybe", "yes no", "2", "ja", "none")
        ),
        *(
            (parsers.size, text, NO_SIZE)
            for text in ("", "M", "-1", "1.5M", "50X", "50MM", "1 0", "٣M", "9" * 5000)
        ),
        *((parsers.size, text, ZERO) for text in ("0", "0M")),
        *((parsers.size, text, TOO_LARGE) for text in ("1001T", "9" * 18)),
        *(
            (parsers.duration, text, NO_DURATION)
            for text in ("", "s", "-1s", "1w", ".5s", "1e3", "inf", "nan", "1s 2s", "9" * 5000)
        ),
        *(
            (parsers.port, text, NO_PORT)
            for text in ("", "0", "65536", "-1", "80.0", "http", "8008 ", "٨٠", "9" * 5000)
        ),
        (
            parsers.port,
            "tcp://10.0.0.1:6379",
            (
                "is a Kubernetes service link, not a port",
                "set enableServiceLinks: false in the pod, or give the port itself",
            ),
        ),
        *(
            (parsers.line, text, NO_LINE)
            for text in ("a\nb", "a\x00b", "\x7f")
        ),
        *(
            (parsers.absolute_path, text, NO_PATH)
            for text in (
                "", "data", "./data", "~/data", "/a b", "/a\nb", "/a;b", "/a'b", '/a"b', "/a$b",
                "/a%b",
                "/a#b", "/a{b", "/a\\b", "/a,b", "/a:b", "/ä", "/a\x00b", "/..", "/a/../b", "/a/..",
            )
        ),
        *(
            (parsers.host, text, NO_HOST)
            for text in (
                "", "a b", "a,b", "-a", "a-", "a/b", "/run", "a;b", "http://a", "ä", "a\nb",
                "a" * 254,
                "::1%eth0", "::1%;}", "[::1", "fe80::1%x\ny",
            )
        ),
        *((parsers.absolute_path, text, ROOT) for text in ("/", "//")),
        (parsers.host_or_directory, "/run/a,b", NO_PATH),
        (parsers.host_or_directory, "run/a", NO_HOST),
        (parsers.hosts_or_directories, "db1,", NO_HOST),
        (parsers.ports, "5432,", NO_PORT),
        *(
            (parsers.password, text, NO_PASSWORD)
            for text in ("", "a\nb", "a\x00", "\udc80", "x" * 1025)
        ),
        *(
            (parsers.identifier, text, NO_NAME)
            for text in ("", "-a", "a b", 'a"b', "a'b", "a\\b", "a\x00", "\udc80", *TOO_LONG)
        ),
        *(
            (parsers.server_name, text, NO_SERVER)
            for text in (
                "", "-a", "a b", "a_b", "a/b", "@a:b", "https://a", "a.", "a:b", "a:", "a:٨٠",
                "a\n",
                "a:123456", f"a:{'9' * 5000}", "a" * 231, "é.org", "::1",
            )
        ),
        *((parsers.server_name, text, NO_SERVER_PORT) for text in ("a:0", "a:65536", "[::1]:0")),
        *(
            (parsers.server_name, text, NO_SERVER_ADDRESS)
            for text in ("[]", "[::1", "[1.2.3.4]", "[::1%/../x]", "[a]:80")
        ),
        (parsers.server_name, "Example.ORG:80", ("has capital letters", "write example.org:80")),
        *(
            (parsers.base_url, text, NO_URL)
            for text in (
                "", "matrix.example.org", "ftp://a/", "https://", "https://a b", "https://a/?x",
                "https://a/#x",
                "https://a\n", "https://u:p@a/", "https://a/\"",
            )
        ),
        *((parsers.log_level, text, NO_LEVEL) for text in ("", "LOUD", "10", "INFO ", "DEBUG\n")),
        *(
            (parsers.bind_address, text, NO_ADDRESS)
            for text in (
                "", "localhost", "1.2.3", "1.2.3.4.5", "1.2.3.4:80", "**", "::1%eth0", "::1%a;}",
                "[::1",
                "[::1]]", "1.2.3.4\n",
            )
        ),
        *(
            (
                parsers.networks,
                text,
                (
                    f"{word!r} is not an IP network",
                    "write networks such as 10.0.0.0/8 separated by commas, or private, or all",
                ),
            )
            for text, word in (
                ("10.0.0.1/8", "10.0.0.1/8"),
                ("10.0.0.0/33", "10.0.0.0/33"),
                ("10.0.0.0/8/9", "10.0.0.0/8/9"),
                ("private, localhost", "localhost"),
                ("10.0.0.0/8;", "10.0.0.0/8;"),
                ("fe80::%x;y/64", "fe80::%x;y/64"),
                ("fe80::%x", "fe80::%x"),
            )
        ),
        *(
            (parsers.secret, text, NO_SECRET)
            for text in ("", "a b", "a\tb", "a\nb", "a\x00b", "ä", "\x7f", "x" * 1025)
        ),
        *(
            (parsers.key_id, text, NO_KEY_ID)
            for text in ("", "a_AbCd", "ed25519:", "rsa:a", "ed25519:a b", "ed25519:a\n")
        ),
        *(
            (parsers.signing_key, text, NO_KEY)
            for text in (
                "", "a_AbCd", f"ed25519 a {'A' * 42}", f"ed25519 a  {'A' * 43}",
                f"ed25519 a\n{'A' * 43}",
                f"ed448 a {'A' * 43}", f"ed25519 a {'A' * 42}=",
            )
        ),
        *((parsers.whole_number(2, 4), text, NO_NUMBER) for text in ("1", "5", "", "3.0")),
        (parsers.one_of("a", "b"), "c", ("is not one of the allowed values", "write one of a, b")),
    ],
)  # fmt: skip
def test_invalid_texts(parser: Parser, text: str, expected: tuple[str, str]) -> None:
    assert rejection(parser, text) == expected


def test_a_whole_number_can_be_the_lowest_or_the_highest() -> None:
    assert [parsers.whole_number(2, 4)(text) for text in ("2", "3", "4")] == [2, 3, 4]


def test_words_are_accepted_in_any_case() -> None:
    assert parsers.one_of("verify-full", "disable")("Verify-Full") == "verify-full"


DEFAULTS = [row for _, row in variables() if row.default is not None and row.default != ()]


@pytest.mark.parametrize("variable", DEFAULTS, ids=lambda variable: str(variable.name))
def test_writing_down_a_default_changes_nothing(variable: Variable) -> None:
    words = {True: "yes", False: "no"}
    shown = words[variable.default] if isinstance(variable.default, bool) else variable.default
    text = variable.shown_default or str(shown)
    assert variable.parse(text) == variable.default
