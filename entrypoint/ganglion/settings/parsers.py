"""A parser for each kind of value that a variable can hold.

Each parser takes the text of a variable, without white space around it. It returns the value or
raises Invalid.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable

SIZE_UNITS = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
LARGEST_SIZE = 1000 * 1024**4
DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
TRUE_WORDS = frozenset({"yes", "true", "on", "1", "y", "t"})
FALSE_WORDS = frozenset({"no", "false", "off", "0", "n", "f"})
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# TRUSTED_PROXIES=private: networks with addresses that are not routed on the internet.
PRIVATE_NETWORKS = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
)
# In halves, because nginx treats 0.0.0.0/0 as the default, which is defined already.
ALL_NETWORKS = ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")
# Bytes; PostgreSQL cuts longer names: NAMEDATALEN.
LONGEST_NAME = 63
# Bytes; NAME_MAX of Linux. A path has to leave room for names below it: PATH_MAX of Linux is 4096,
# and that of PostgreSQL 1024.
LONGEST_PART, LONGEST_PATH = 255, 900
# Unicode's categories of control characters, lone surrogates and line ends.
UNWRITABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
NETWORK_WORDS = {"private": PRIVATE_NETWORKS, "all": ALL_NETWORKS}


class Invalid(ValueError):
    """The text is not such a value. `message` says why, `hint` says what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def boolean(text: str) -> bool:
    """Parse `yes` or `no`, or one of their usual other spellings."""
    word = text.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise Invalid("is neither yes nor no", "write yes or no")


def size(text: str) -> int:
    """Parse a number of bytes: a whole number, optionally with K, M, G or T (powers of 1024)."""
    found = re.fullmatch(r"(\d{1,18})\s*([KMGT]?)i?B?", text, re.IGNORECASE | re.ASCII)
    if found is None:
        raise Invalid("is not a size", "write a whole number with K, M or G, such as 50M")
    number = int(found[1]) * SIZE_UNITS[found[2].upper()]
    if number == 0:
        raise Invalid("is zero", "write a size of at least 1")
    if number > LARGEST_SIZE:
        raise Invalid("is larger than nginx supports", "write a size of at most 1000T")
    return number


def duration(text: str) -> float:
    """Parse a number of seconds: a number followed by ms, s, m, h or d; the default unit is s."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)?", text.lower(), re.ASCII)
    if found is None:
        raise Invalid("is not a duration", "write a number with s, m or h, such as 60s")
    return float(found[1]) * DURATION_UNITS[found[2] or "s"]


def duration_of(least: float, most: float) -> Callable[[str], float]:
    """Return a parser of durations within these limits, in seconds."""

    def parse(text: str) -> float:
        seconds = duration(text)
        if not least <= seconds <= most:
            raise Invalid(
                f"is not a duration from {least:.0f}s to {most:.0f}s",
                "write a number with s, m or h, such as 60s",
            )
        return seconds

    return parse


def processors(text: str) -> float:
    """Parse a number of processors with at most three decimal places."""
    found = re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text, re.ASCII)
    if found is None or not 0.1 <= float(text) <= 1024:
        raise Invalid(
            "is not a number of processors from 0.1 to 1024",
            "write a number such as 2 or 0.5",
        )
    return float(text)


def factor(text: str) -> float:
    """Parse a factor: a number above zero with at most six decimal places."""
    found = re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text, re.ASCII)
    if found is None or not 0 < float(text) <= 1000:
        raise Invalid("is not a number above 0 and up to 1000", "write a number such as 0.5")
    return float(text)


def words(text: str) -> tuple[str, ...]:
    """Parse words separated by commas."""
    found = tuple(filter(None, (part.strip() for part in text.split(","))))
    if any(not re.fullmatch(r"[\x21-\x7e]+", word, re.ASCII) for word in found):
        raise Invalid("contains a space or a non-ASCII character", "separate the words with commas")
    return found


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a parser of whole numbers from `lowest` to `highest`, both included."""

    def parse(text: str) -> int:
        if re.fullmatch(r"\d{1,18}", text, re.ASCII) and lowest <= int(text) <= highest:
            return int(text)
        raise Invalid(
            f"is not a whole number from {lowest} to {highest}",
            f"write a number from {lowest} to {highest}",
        )

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Make a parser that accepts only these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() in words:
            return text.lower()
        raise Invalid("is not one of the allowed values", f"write one of {', '.join(words)}")

    return parse


def port(text: str) -> int:
    """Parse a TCP port number.

    Kubernetes puts a URL into NAME_PORT for a service called NAME; that gets a message of its own.
    """
    if text.startswith("tcp://"):
        raise Invalid(
            "is a Kubernetes service link, not a port",
            "set enableServiceLinks: false in the pod, or give the port itself",
        )
    return whole_number(1, 65535)(text)


def line(text: str) -> str:
    """Accept any text on one line, without control characters."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Invalid("contains a line break or a control character", "write it on one line")
    return text


def absolute_path(text: str) -> str:
    """Parse an absolute path of characters that have no meaning in any program's configuration.

    A comma ends the path of a socket for libpq and PostgreSQL; a colon ends it for nginx.
    """
    if not re.fullmatch(r"/[A-Za-z0-9._@+/=-]*", text, re.ASCII) or ".." in text.split("/"):
        raise Invalid(
            "is not an absolute path of plain characters",
            "use a path that starts with / and has only letters, digits and . _ - + = @",
        )
    path = re.sub(r"/+", "/", text).rstrip("/")
    if not path:
        raise Invalid("is the root directory", "write a path below /")
    if max(map(len, path.split("/"))) > LONGEST_PART:
        raise Invalid(
            f"has a part of more than {LONGEST_PART} characters", "use shorter names of files"
        )
    if len(path) > LONGEST_PATH:
        raise Invalid(f"is longer than {LONGEST_PATH} characters", "use a shorter path")
    return path


def _ip_address(text: str) -> str:
    """Parse an IP address, optionally in [ ]. Raises ValueError.

    Reject a zone such as %eth0: Python accepts any character in it, and nginx does not support it.
    """
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "%" in inside:
        raise ValueError(text)
    return str(ipaddress.ip_address(inside))


def host(text: str) -> str:
    """Parse a host name or an IP address."""
    try:
        return _ip_address(text)
    except ValueError:
        pass
    if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", text, re.ASCII):
        return text
    raise Invalid("is not a host name or IP address", "write a host name such as db.example.org")


def hosts(text: str) -> tuple[str, ...]:
    """Parse host names or IP addresses, with commas. The result has no capital letters."""
    return tuple(dict.fromkeys(host(part.strip()).lower() for part in text.split(",")))


def host_or_directory(text: str) -> str:
    """Parse a host name, an IP address, or the directory of a Unix socket."""
    return absolute_path(text) if text.startswith("/") else host(text)


def hosts_or_directories(text: str) -> str:
    """Parse one host or socket directory, or several with commas as in libpq."""
    return ",".join(host_or_directory(part.strip()) for part in text.split(","))


def ports(text: str) -> int | str:
    """Parse one TCP port number, or one for each of several hosts, with commas as in libpq."""
    found = [port(part.strip()) for part in text.split(",")]
    return found[0] if len(found) == 1 else ",".join(map(str, found))


def identifier(text: str) -> str:
    """Parse the name of a database or of a database user, which SQL takes between quotes."""
    plain = all(character.isprintable() and character not in " \"'\\" for character in text)
    if plain and text[:1] not in ("", "-") and len(text.encode()) <= LONGEST_NAME:
        return text
    raise Invalid(
        "is not a plain name",
        "use letters, digits and punctuation without spaces, quotes and \\, at most 63 bytes",
    )


def server_name(text: str) -> str:
    """Parse a Matrix server name: a host name or an IP address, with or without a port.

    Grammar: https://spec.matrix.org/latest/appendices/#server-name
    """
    name, _, number = text.rpartition(":") if re.search(r":[0-9]{1,5}\Z", text) else (text, "", "")
    if number and not 1 <= int(number) <= 65535:
        raise Invalid("has an invalid port", "use a port from 1 to 65535, or leave it out")
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(_ip_address(name))
            return text
    except ValueError as error:
        raise Invalid("is not a Matrix server name", "write an IPv6 address in [ ]") from error
    if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,228}[A-Za-z0-9])?", name, re.ASCII):
        if name != name.lower():
            raise Invalid("has capital letters", f"write {text.lower()}")
        return text
    raise Invalid(
        "is not a Matrix server name",
        "write the domain behind the : of your user IDs, such as example.org",
    )


def base_url(text: str) -> str:
    """Parse an http or https URL that clients use. The result ends with a slash."""
    if re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?", text, re.ASCII):
        return text if text.endswith("/") else text + "/"
    raise Invalid("is not a URL", "write a URL such as https://matrix.example.org/")


def log_level(text: str) -> str:
    """Parse one of Python's log levels."""
    level = text.upper()
    if level in LOG_LEVELS:
        return level
    raise Invalid("is not a log level", f"write one of {', '.join(LOG_LEVELS)}")


def bind_address(text: str) -> str:
    """Parse `*`, which stands for every address of the machine, or one IP address."""
    if text == "*":
        return text
    try:
        return _ip_address(text)
    except ValueError as error:
        raise Invalid("is not an IP address", "write * or an IP address such as 0.0.0.0") from error


def networks(text: str) -> tuple[str, ...]:
    """Parse IP networks separated by commas; `private` means all private ones, `all` means all."""
    found: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word in NETWORK_WORDS:
            found.extend(NETWORK_WORDS[word])
            continue
        try:
            address, slash, prefix = word.partition("/")
            found.append(str(ipaddress.ip_network(f"{_ip_address(address)}{slash}{prefix}")))
        except ValueError as error:
            raise Invalid(
                f"{word!r} is not an IP network",
                "write networks such as 10.0.0.0/8 separated by commas, or private, or all",
            ) from error
    return tuple(dict.fromkeys(found))


def secret(text: str) -> str:
    """Parse a secret of printable ASCII; other characters mean different things to the programs."""
    if not re.fullmatch(r"[\x21-\x7e]{1,1024}", text, re.ASCII):
        raise Invalid(
            "contains a space, a control character or a non-ASCII character",
            "use letters, digits and punctuation only, such as the output of: openssl rand -hex 32",
        )
    return text


def certificates(text: str) -> str:
    """Parse certificates in PEM. Whether they are good is checked when a server starts."""
    return _pem(text, "CERTIFICATE", "a certificate")


def private_key(text: str) -> str:
    """Parse a private key in PEM."""
    return _pem(text, "PRIVATE KEY", "a private key")


# A block: https://www.rfc-editor.org/rfc/rfc7468, and the headers of a key with a passphrase.
PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]*)-----\s[A-Za-z0-9+/=:,\s-]*?-----END \1-----", re.ASCII)


def _pem(text: str, label: str, what: str) -> str:
    """Return the blocks of a kind, without the rest: a file may have both, and remarks."""
    blocks = [found[0] for found in PEM.finditer(text) if found[1].endswith(label)]
    if not blocks:
        raise Invalid(
            f"is not {what} in PEM format",
            f"give the text of the PEM file, from its line -----BEGIN {label}----- on, or its path"
            " as the variable's _FILE",
        )
    return "\n".join(blocks)


def password(text: str) -> str:
    """Parse the password of a database server: any text on one line that UTF-8 can hold.

    pgpass, redis.conf and SQL take it with the quoting of each.
    """
    if 0 < len(text) <= 1024 and not UNWRITABLE & set(map(unicodedata.category, text)):
        return text
    raise Invalid(
        "is empty, too long or holds a control character",
        "use one line of at most 1024 characters, such as the output of: openssl rand -hex 32",
    )


def signing_key(text: str) -> str:
    """Parse a Matrix signing key as Synapse writes it: `ed25519 a_AbCd` and 32 bytes in base64."""
    if not re.fullmatch(r"ed25519 [A-Za-z0-9_]{1,64} [A-Za-z0-9+/]{43}", text, re.ASCII):
        raise Invalid(
            "is not a signing key",
            "paste the one line of Synapse's SERVERNAME.signing.key file",
        )
    return text


def key_id(text: str) -> str:
    """Parse the ID of a signing key: `ed25519:a_AbCd`."""
    if not re.fullmatch(r"ed25519:[A-Za-z0-9_]{1,64}", text, re.ASCII):
        raise Invalid(
            "is not the ID of a signing key", "write the one in server.json, such as ed25519:a_AbCd"
        )
    return text
