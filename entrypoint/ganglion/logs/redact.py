"""Remove secrets from log lines.

nginx writes the whole request line into its errors, with the query. No option changes that.
"""

import re
from collections.abc import Iterable

REDACTED = b"<redacted>"
# The names as they occur in queries, forms, JSON, YAML and keyword arguments.
_NAMES = (
    rb"access_token|refresh_token|login_token|loginToken|as_token|hs_token|id_token"
    rb"|password|new_password|passphrase|client_secret|mac|macaroon"
    rb"|registration_shared_secret|macaroon_secret_key|form_secret|worker_replication_secret"
)
# A quick test, because nearly every line is without one. It is for lines in lower case: ignoring
# case in the pattern takes four times as long.
SUSPECT = re.compile(
    rb"token|passw|passphrase|secret|macaroon|authorization|bearer|x-matrix|sy[a-z]_|m[a-z]t_"
    rb"|\bcode=|\bticket=|\bmac\b|mda[a-z0-9]|key \(|failing row|process \d+: |ed25519 "
)
_RULES = (
    # Authorization: Bearer …, Basic …, X-Matrix …, up to the end of the header's text.
    (re.compile(rb"(?i)(\bauthorization\b[\"']?\s*[:=]\s*[\[(]?b?[\"']?)[^\"'\r\n]+"), rb"\1"),
    (re.compile(rb"(?i)(\b(?:bearer|basic) +)[^\s\"',;]{4,}"), rb"\1"),
    (re.compile(rb"(?i)(\bx-matrix\b[^\r\n]*?\bsig\s*=\s*\"?)[^\s\",]+"), rb"\1"),
    # "name": "value", with escaped quotes inside.
    (
        re.compile(rb"(?i)([\"'](?:" + _NAMES + rb")[\"']\s*:\s*\\?[\"'])(?:\\.|[^\"'\\\r\n])+"),
        rb"\1",
    ),
    # name=value and name: value.
    (
        re.compile(rb"(?i)(\b(?:" + _NAMES + rb")\s?[=:]\s?)(?![\"'])[^\s&\"',;)}\]]+"),
        rb"\1",
    ),
    (re.compile(rb"(?i)(\b(?:" + _NAMES + rb")\s?[=:]\s?([\"']))(?:(?!\2)[^\r\n])+"), rb"\1"),
    # In a query: registration tokens, links in mails, and what a sign-on provider sends back.
    (re.compile(rb"(?i)([?&](?:token|code|ticket)=)[^\s&\"',;]+"), rb"\1"),
    # Tokens by their form, wherever they stand.
    (re.compile(rb"\b(sy[a-z]|m[a-z]t)_[A-Za-z0-9+/=._~-]{8,}"), rb"\1_"),
    (re.compile(rb"\b(MDA)[A-Za-z0-9_=-]{40,}"), rb"\1"),
    # A value that PostgreSQL rejects: DETAIL:  Key (token)=(…) already exists.
    (re.compile(rb"(\bKey \([^)]*\)=\().*"), rb"\1"),
    (re.compile(rb"(\bFailing row contains \().*"), rb"\1"),
    (re.compile(rb"(^\t?Process \d+: ).+"), rb"\1"),
    # A signing key: version, name and seed.
    (re.compile(rb"(\bed25519 +\w+ +)[A-Za-z0-9+/]{43}=?"), rb"\1"),
)
# In bytes. A shorter text may be a word that every line has.
SHORTEST_SECRET = 8
# A secret that is a word, such as `replication`: paths and the names of loggers keep it.
_WORD = re.compile(rb"[A-Za-z]+\Z")
_IN_NAME = rb"[\w./-]"


class Known:
    """The secrets of this server, which are removed wherever they stand.

    One that consists of letters is a word: it is removed where it stands alone.
    """

    def __init__(self) -> None:
        self._values: tuple[tuple[bytes, re.Pattern[bytes] | None], ...] = ()

    def add(self, values: Iterable[str]) -> None:
        """Remove these, too. One that is so short that it may be a word is not removed."""
        found = {*(value for value, _ in self._values), *(each.strip().encode() for each in values)}
        # The longest first, since one may be a part of another.
        kept = sorted((each for each in found if len(each) >= SHORTEST_SECRET), key=len)[::-1]
        self._values = tuple((each, _alone(each)) for each in kept)

    def redacted(self, line: bytes) -> bytes:
        """Return a line without these secrets, and without all that looks like one."""
        for value, alone in self._values:
            if value in line:
                line = line.replace(value, REDACTED) if alone is None else alone.sub(REDACTED, line)
        return redacted(line)


def _alone(value: bytes) -> re.Pattern[bytes] | None:
    """Return the pattern of a word that is no part of a name; None for a value that is no word."""
    if not _WORD.match(value):
        return None
    return re.compile(rb"(?<!%s)%s(?!%s)" % (_IN_NAME, value, _IN_NAME))


def redacted(line: bytes) -> bytes:
    """Return a line of a log without access tokens, passwords and other secrets."""
    if SUSPECT.search(line.lower()) is None:
        return line
    for pattern, kept in _RULES:
        line = pattern.sub(kept + REDACTED, line)
    return line


# The secrets of this server. The processes that the supervisor forks inherit them, for their files.
OWN = Known()
