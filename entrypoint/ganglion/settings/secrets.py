"""The table of secrets that are generated once and kept."""

import secrets as random_source
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Every secret in force: given by variable, else kept from an earlier start, else new.

    Each is text of printable ASCII without white space, but for the signing key, a line as
    Synapse's own files hold it.
    """

    macaroon_secret_key: str
    form_secret: str
    registration_shared_secret: str
    worker_replication_secret: str
    redis_password: str
    postgres_password: str
    signing_key: str
    # There only where a variable gives them.
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
# Never made, only given.
GIVEN = ("turn_shared_secret", "recaptcha_private_key")

# Shown by `render` and `check` where there is no data directory with secrets to read.
PLACEHOLDER = "made-at-the-first-start"


def generate() -> str:
    """A new secret: 256 bits from the system's random source, as 43 characters of base64."""
    return random_source.token_urlsafe(32)


def placeholders() -> Secrets:
    """Words in the place of secrets, for plans that are only looked at."""
    return Secrets(**dict.fromkeys((*GENERATED, *GIVEN, "signing_key"), PLACEHOLDER))
