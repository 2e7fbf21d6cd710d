"""THE table of secrets that are generated once and kept."""

import secrets as random_source
from dataclasses import dataclass


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


def generate() -> str:
    """Generate a secret: 256 bits from the system's random source, as 43 characters of base64."""
    return random_source.token_urlsafe(32)


def placeholders() -> Secrets:
    """Return placeholders for all secrets, for plans that are only displayed."""
    return Secrets(**dict.fromkeys((*GENERATED, *GIVEN, "signing_key"), PLACEHOLDER))
