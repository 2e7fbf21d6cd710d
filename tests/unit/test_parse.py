"""The parsers of values, each with what it takes and the whole of what it says otherwise."""

from collections.abc import Callable
from typing import Any

import pytest

from ganglion import parse
from ganglion.rows import Variable
from ganglion.settings import variables

Parser = Callable[[str], Any]


def refusal(parser: Parser, text: str) -> tuple[str, str]:
    """The message and the fix of a refusal."""
    with pytest.raises(parse.Invalid) as refused:
        parser(text)
    assert str(refused.value) == refused.value.message
    return refused.value.message, refused.value.hint


@pytest.mark.parametrize(
    ("parser", "text", "value"),
    [
        *((parse.boolean, text, True) for text in ("yes", "true", "on", "1", "y", "T", "YES")),
        *((parse.boolean, text, False) for text in ("no", "False", "off", "0", "n", "f")),
        (parse.size, "1", 1),
        (parse.size, "50M", 50 * 1024**2),
        (parse.size, "50 MiB", 50 * 1024**2),
        (parse.size, "2kb", 2048),
        (parse.size, "1G", 1024**3),
        (parse.size, "1000T", 1000 * 1024**4),
        (parse.duration, "90", 90.0),
        (parse.duration, "500ms", 0.5),
        (parse.duration, "1.5 m", 90.0),
        (parse.duration, "2H", 7200.0),
        (parse.duration, "1d", 86400.0),
        (parse.port, "1", 1),
        (parse.port, "65535", 65535),
        (parse.port, "08008", 8008),
        (parse.line, "any text, even €", "any text, even €"),
        (parse.absolute_path, "/data", "/data"),
        (parse.absolute_path, "//srv///data//", "/srv/data"),
        (parse.absolute_path, "/a_b/c-d.e/f+g=h@i", "/a_b/c-d.e/f+g=h@i"),
        (parse.absolute_path, "/a..b/...", "/a..b/..."),
        (parse.host, "db", "db"),
        (parse.host, "db_1.Example.org", "db_1.Example.org"),
        (parse.host, "10.0.0.1", "10.0.0.1"),
        (parse.host, "[::1]", "::1"),
        (parse.host, "FD00::0:1", "fd00::1"),
        (parse.host_or_directory, "/run/postgresql/", "/run/postgresql"),
        (parse.host_or_directory, "db", "db"),
        (parse.identifier, "synapse", "synapse"),
        (parse.identifier, "_Synapse-2", "_Synapse-2"),
        (parse.server_name, "localhost", "localhost"),
        (parse.server_name, "example.org:8448", "example.org:8448"),
        (parse.server_name, "10.0.0.1", "10.0.0.1"),
        (parse.server_name, "[::1]", "[::1]"),
        (parse.server_name, "[fd00::1]:8448", "[fd00::1]:8448"),
        (parse.base_url, "https://matrix.example.org", "https://matrix.example.org/"),
        (parse.base_url, "http://[::1]:8008/a_b/", "http://[::1]:8008/a_b/"),
        (parse.log_level, "debug", "DEBUG"),
        (parse.log_level, "Warning", "WARNING"),
        (parse.bind_address, "*", "*"),
        (parse.bind_address, "127.0.0.1", "127.0.0.1"),
        (parse.bind_address, "[::1]", "::1"),
        (parse.bind_address, "::0", "::"),
        (parse.networks, "10.0.0.0/8", ("10.0.0.0/8",)),
        (parse.networks, "10.0.0.1, fd00::/8,", ("10.0.0.1/32", "fd00::/8")),
        (parse.networks, "10.0.0.0/255.0.0.0, 10.0.0.0/8", ("10.0.0.0/8",)),
        (parse.networks, "private", parse.PRIVATE_NETWORKS),
        (
            parse.networks,
            "10.0.0.0/8,private",
            ("10.0.0.0/8", "127.0.0.0/8", *parse.PRIVATE_NETWORKS[2:]),
        ),
        (parse.secret, "a", "a"),
        (parse.secret, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        (parse.secret, "x" * 1024, "x" * 1024),
        (parse.signing_key, f"ed25519 a_AbCd {'A' * 43}", f"ed25519 a_AbCd {'A' * 43}"),
    ],
)
def test_values(parser: Parser, text: str, value: object) -> None:
    assert parser(text) == value


YES_OR_NO = ("is neither yes nor no", "write yes or no")
NO_SIZE = ("is not a size", "write a whole number with K, M or G, such as 50M")
NO_ROOM = ("is no room at all", "write a size of at least 1")
TOO_LARGE = ("is more than nginx can count", "write a size of at most 1000T")
NO_DURATION = ("is not a duration", "write a number with s, m or h, such as 60s")
NO_NUMBER = ("is not a whole number from 2 to 4", "write a number from 2 to 4")
NO_PORT = ("is not a whole number from 1 to 65535", "write a number from 1 to 65535")
NO_LINE = ("holds a line break or control character", "write it on one line")
NO_PATH = (
    "is not an absolute path of plain characters",
    "use a path that starts with / and has only letters, digits and . _ - + = @",
)
ROOT = ("is the root directory", "name something below it")
NO_HOST = ("is not a host name or IP address", "write a host name such as db.example.org")
NO_NAME = (
    "is not a plain name",
    "use letters, digits, _ and -, starting with a letter, at most 63 characters",
)
NO_SERVER = (
    "is not a Matrix server name",
    "write the domain behind the : of your user IDs, such as example.org",
)
NO_SERVER_PORT = ("has a port that is none", "use a port from 1 to 65535, or none")
NO_SERVER_ADDRESS = ("is not a Matrix server name", "write an IPv6 address in [ ]")
NO_URL = ("is not a URL", "write a URL such as https://matrix.example.org/")
NO_LEVEL = ("is not a log level", "write one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
NO_ADDRESS = ("is not an IP address", "write * or an IP address such as 0.0.0.0")
NO_SECRET = (
    "holds a space, a control character or a letter outside ASCII",
    "use letters, digits and punctuation only, such as the output of: openssl rand -hex 32",
)
NO_KEY = ("is not a signing key", "give the one line of Synapse's SERVERNAME.signing.key file")


@pytest.mark.parametrize(
    ("parser", "text", "expected"),
    [
        *((parse.boolean, text, YES_OR_NO) for text in ("", "maybe", "yes no", "2", "ja", "none")),
        *(
            (parse.size, text, NO_SIZE)
            for text in ("", "M", "-1", "1.5M", "50X", "50MM", "1 0", "٣M", "9" * 5000)
        ),
        *((parse.size, text, NO_ROOM) for text in ("0", "0M")),
        *((parse.size, text, TOO_LARGE) for text in ("1001T", "9" * 18)),
        *(
            (parse.duration, text, NO_DURATION)
            for text in ("", "s", "-1s", "1w", ".5s", "1e3", "inf", "nan", "1s 2s", "9" * 5000)
        ),
        *(
            (parse.port, text, NO_PORT)
            for text in ("", "0", "65536", "-1", "80.0", "http", "8008 ", "٨٠", "9" * 5000)
        ),
        (
            parse.port,
            "tcp://10.0.0.1:6379",
            (
                "is a Kubernetes service link, not a port",
                "set enableServiceLinks: false in the pod, or give the port itself",
            ),
        ),
        *(
            (parse.line, text, NO_LINE)
            for text in ("a\nb", "a\x00b", "\x7f")
        ),
        *(
            (parse.absolute_path, text, NO_PATH)
            for text in (
                "", "data", "./data", "~/data", "/a b", "/a\nb", "/a;b", "/a'b", '/a"b', "/a$b",
                "/a%b",
                "/a#b", "/a{b", "/a\\b", "/a,b", "/a:b", "/ä", "/a\x00b", "/..", "/a/../b", "/a/..",
            )
        ),
        *(
            (parse.host, text, NO_HOST)
            for text in (
                "", "a b", "a,b", "-a", "a-", "a/b", "/run", "a;b", "http://a", "ä", "a\nb",
                "a" * 254,
                "::1%eth0", "::1%;}", "[::1", "fe80::1%x\ny",
            )
        ),
        *((parse.absolute_path, text, ROOT) for text in ("/", "//")),
        (parse.host_or_directory, "/run/a,b", NO_PATH),
        (parse.host_or_directory, "run/a", NO_HOST),
        *(
            (parse.identifier, text, NO_NAME)
            for text in ("", "1a", "-a", "a b", "a;b", 'a"b', "a'b", "ä", "a\x00", "a" * 64)
        ),
        *(
            (parse.server_name, text, NO_SERVER)
            for text in (
                "", "-a", "a b", "a_b", "a/b", "@a:b", "https://a", "a.", "a:b", "a:", "a:٨٠",
                "a\n",
                "a:123456", f"a:{'9' * 5000}", "a" * 231, "é.org", "::1",
            )
        ),
        *((parse.server_name, text, NO_SERVER_PORT) for text in ("a:0", "a:65536", "[::1]:0")),
        *(
            (parse.server_name, text, NO_SERVER_ADDRESS)
            for text in ("[]", "[::1", "[1.2.3.4]", "[::1%/../x]", "[a]:80")
        ),
        (parse.server_name, "Example.ORG:80", ("has capital letters", "write example.org:80")),
        *(
            (parse.base_url, text, NO_URL)
            for text in (
                "", "matrix.example.org", "ftp://a/", "https://", "https://a b", "https://a/?x",
                "https://a/#x",
                "https://a\n", "https://u:p@a/", "https://a/\"",
            )
        ),
        *((parse.log_level, text, NO_LEVEL) for text in ("", "LOUD", "10", "INFO ", "DEBUG\n")),
        *(
            (parse.bind_address, text, NO_ADDRESS)
            for text in (
                "", "localhost", "1.2.3", "1.2.3.4.5", "1.2.3.4:80", "**", "::1%eth0", "::1%a;}",
                "[::1",
                "[::1]]", "1.2.3.4\n",
            )
        ),
        *(
            (
                parse.networks,
                text,
                (
                    f"holds {word!r}, which is not an IP network",
                    "write networks such as 10.0.0.0/8, separated by commas, or private or all",
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
            (parse.secret, text, NO_SECRET)
            for text in ("", "a b", "a\tb", "a\nb", "a\x00b", "ä", "\x7f", "x" * 1025)
        ),
        *(
            (parse.signing_key, text, NO_KEY)
            for text in (
                "", "a_AbCd", f"ed25519 a {'A' * 42}", f"ed25519 a  {'A' * 43}",
                f"ed25519 a\n{'A' * 43}",
                f"ed448 a {'A' * 43}", f"ed25519 a {'A' * 42}=",
            )
        ),
        *((parse.whole_number(2, 4), text, NO_NUMBER) for text in ("1", "5", "", "3.0")),
        (parse.one_of("a", "b"), "c", ("is not one of its values", "write one of a, b")),
    ],
)  # fmt: skip
def test_refusals(parser: Parser, text: str, expected: tuple[str, str]) -> None:
    assert refusal(parser, text) == expected


def test_a_whole_number_includes_both_its_ends() -> None:
    assert [parse.whole_number(2, 4)(text) for text in ("2", "3", "4")] == [2, 3, 4]


def test_one_of_a_few_words_in_any_case() -> None:
    assert parse.one_of("verify-full", "disable")("Verify-Full") == "verify-full"


DEFAULTS = [row for _, row in variables() if row.default is not None and row.default != ()]


@pytest.mark.parametrize("variable", DEFAULTS, ids=lambda variable: str(variable.name))
def test_a_default_is_what_its_parser_would_return(variable: Variable) -> None:
    """So that writing down the default changes nothing."""
    words = {True: "yes", False: "no"}
    shown = words[variable.default] if isinstance(variable.default, bool) else variable.default
    text = variable.shown_default or str(shown)
    assert variable.parse(text) == variable.default
