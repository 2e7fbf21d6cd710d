"""Test mode: whether it is on, the settings that follow from it, and its warnings.

This is decided once, when the environment is read; later stages find the result in Settings. The
changes to Synapse's configuration are in programs/synapse/test_options.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from ganglion.errors import Problem
from ganglion.settings import parsers
from ganglion.settings.parsers import ALL_NETWORKS
from ganglion.settings.synapse_image import EXTRA_CONFIGURATION
from ganglion.settings.variables import Settings

# Tells whether there is something at a path.
Exists = Callable[[str], bool]

# The secret that Complement uses: https://github.com/matrix-org/complement/blob/main/README.md
SHARED_SECRET = "complement"  # noqa: S105 - public, and test mode warns about it


def authority(place: str, exists: Exists) -> str | None:
    """Return the directory of Complement's certificate authority in `place`, if it is complete."""
    directory = f"{place}/ca"
    return directory if all(exists(f"{directory}/ca.{end}") for end in ("crt", "key")) else None


def apply(settings: Settings, exists: Exists) -> Settings:
    """Decide whether test mode is on, and return the settings that follow from it.

    Complement's certificate authority switches test mode on, unless GANGLION_TEST_MODE is `no`.
    """
    found = authority(settings.complement, exists)
    on = settings.test_mode or (found is not None and "GANGLION_TEST_MODE" not in settings.given)
    if not on:
        return replace(settings, test_mode=False)
    certificates = settings.paths.complement_certificates
    made = found is not None and settings.tls_cert is None and settings.tls_key is None
    registrations = f"{settings.complement}/appservice"
    workers = settings.workers
    if workers is None:
        workers = "complement" if settings.complement_workers else "none"
    return replace(
        settings,
        test_mode=True,
        workers=workers,
        authority=found,
        tls_cert=f"{certificates}/server.crt" if made else settings.tls_cert,
        tls_key=f"{certificates}/server.key" if made else settings.tls_key,
        as_registration_dir=settings.as_registration_dir
        or (registrations if exists(registrations) else None),
        extra_configuration=EXTRA_CONFIGURATION if exists(EXTRA_CONFIGURATION) else None,
        asyncio_reactor=settings.asyncio_reactor or settings.complement_asyncio,
        admin_networks=settings.admin_networks
        if "GANGLION_ADMIN_NETWORKS" in settings.given
        else ALL_NETWORKS,
        sqlite=settings.paths.sqlite if settings.complement_database == "sqlite" else None,
    )


def makes_certificate(settings: Settings) -> bool:
    """Return whether Complement's certificate authority signs a certificate at start."""
    return settings.authority is not None and "SYNAPSE_TLS_CERT" not in settings.given


def is_requested(text: str | None, place: str | None, default_place: str, exists: Exists) -> bool:
    """Return whether test mode is on, before variables are parsed: some exist in test mode only.

    `text` and `place` are the values of GANGLION_TEST_MODE and GANGLION_COMPLEMENT. An invalid text
    is treated as unset; read() reports it.
    """
    try:
        if text:
            return parsers.boolean(text)
    except parsers.Invalid:
        pass
    return authority((place or default_place).rstrip("/"), exists) is not None


def contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], Problem]]:
    """Yield contradictions of test mode, each with the names of its variables."""
    if settings.sqlite is None:
        return
    if settings.postgres_host is not None:
        yield (
            ("SYNAPSE_COMPLEMENT_DATABASE", "POSTGRES_HOST"),
            Problem(
                variable="SYNAPSE_COMPLEMENT_DATABASE",
                value="sqlite",
                message="is set together with POSTGRES_HOST",
                hint="unset one of the two",
            ),
        )


def warnings(settings: Settings) -> tuple[str, ...]:
    """Return the warnings to print at the start of a server in test mode."""
    if not settings.test_mode:
        return ()
    reason = (
        "GANGLION_TEST_MODE=yes"
        if "GANGLION_TEST_MODE" in settings.given
        else f"Complement's certificate authority is in {settings.authority}"
    )
    secret = (
        "the given registration secret"
        if settings.registration_shared_secret
        else f"the registration secret {SHARED_SECRET!r}"
    )
    return (
        f"TEST MODE ({reason}): NOT FOR REAL USERS",
        f"TEST MODE: anyone can register, and can create administrators with {secret}",
        "TEST MODE: anyone can use the administration API; rate limits are disabled",
        "TEST MODE: password hashes are weak; requests to private addresses are allowed",
        "TEST MODE: a crash of the machine, not of a process, can lose the database",
    )
