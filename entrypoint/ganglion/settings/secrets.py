"""THE table of secrets that are generated once and kept."""

import re
import secrets as random_source
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Every secret in use: set by a variable, kept from an earlier start, or new.

    Each is printable ASCII without white space, except for the signing key, which is a line of
    Synapse's own format.
    """

    macaroon_secret_key: str
    form_secret: str
    registration_shared_secret: str
    worker_replication_secret: str
    redis_password: str
    postgres_password: str
    signing_key: str
    # Empty unless a variable sets them.
    turn_shared_secret: str = ""
    recaptcha_private_key: str = ""


GENERATED = (
    "macaroon_secret_key",
    "form_secret",
    "registration_shared_secret",
    "worker_replication_secret",
    "redis_password",
    "postgres_password",
)
# Never generated.
GIVEN = ("turn_shared_secret", "recaptcha_private_key")

# `render` and `check` show this instead of secrets, because they do not read the data directory.
PLACEHOLDER = "made-at-the-first-start"

# Options of Synapse whose value is a secret, by their names.
_SECRET = re.compile(r"(pass|password|passwd|passphrase|secret|token|_key)$")
_NO_SECRET = re.compile(r"public|site_key$")


def values_of(secrets: Secrets, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield every secret, with those among the operator's options. Of a signing key, the seed."""
    for value in astuple(secrets):
        yield str(value).rpartition(" ")[2]
    yield from _in(options)


def _in(found: object, name: str = "") -> Iterator[str]:
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from _in(value, str(key))
    elif isinstance(found, list):
        for value in found:
            yield from _in(value, name)
    elif isinstance(found, str) and _SECRET.search(name) and not _NO_SECRET.search(name):
        yield found


def generate() -> str:
    """Generate a secret: 256 bits from the system's random source, as 43 characters of base64."""
    return random_source.token_urlsafe(32)


def placeholders() -> Secrets:
    """Return placeholders for all secrets, for plans that are only displayed."""
    return Secrets(**dict.fromkeys((*GENERATED, *GIVEN, "signing_key"), PLACEHOLDER))
