"""Test mode: when a server is in it, what it is given then, and what is said of it.

It is settled once, here, when the environment is read; every stage after that has it in Settings.
What it changes in Synapse's configuration is in render/testing.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from ganglion.errors import Problem
from ganglion.settings import parsers
from ganglion.settings.parsers import ALL_NETWORKS
from ganglion.settings.synapse_image import EXTRA_CONFIGURATION
from ganglion.settings.variables import Settings

# Whether there is something at a path.
Look = Callable[[str], bool]

# What Complement signs with: https://github.com/matrix-org/complement/blob/main/README.md
SHARED_SECRET = "complement"  # noqa: S105 - everybody knows it, and test mode says so aloud


def authority(place: str, look: Look) -> str | None:
    """The directory of Complement's authority below a place, if it is whole."""
    directory = f"{place}/ca"
    return directory if all(look(f"{directory}/ca.{end}") for end in ("crt", "key")) else None


def settle(settings: Settings, look: Look) -> Settings:
    """The settings with test mode decided and all that follows from it: the authority switches it
    on, but where GANGLION_TEST_MODE says no.
    """
    found = authority(settings.complement, look)
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
        or (registrations if look(registrations) else None),
        extra_configuration=EXTRA_CONFIGURATION if look(EXTRA_CONFIGURATION) else None,
        asyncio_reactor=settings.asyncio_reactor or settings.complement_asyncio,
        admin_networks=settings.admin_networks
        if "GANGLION_ADMIN_NETWORKS" in settings.given
        else ALL_NETWORKS,
        sqlite=settings.paths.sqlite if settings.complement_database == "sqlite" else None,
    )


def own_certificate(settings: Settings) -> bool:
    """Whether the certificate is made at start, by Complement's authority."""
    return settings.authority is not None and "SYNAPSE_TLS_CERT" not in settings.given


def wanted(text: str | None, place: str | None, default_place: str, look: Look) -> bool:
    """Whether test mode is on by the raw texts of GANGLION_TEST_MODE and GANGLION_COMPLEMENT: to
    know which variables to read. What cannot be read counts as not set; it is told elsewhere.
    """
    try:
        if text:
            return parsers.boolean(text)
    except parsers.Invalid:
        pass
    return authority((place or default_place).rstrip("/"), look) is not None


def contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], Problem]]:
    """What cannot be together in test mode, and the variables that it is about."""
    if settings.sqlite is None:
        return
    if settings.postgres_host is not None:
        yield (
            ("SYNAPSE_COMPLEMENT_DATABASE", "POSTGRES_HOST"),
            Problem(
                variable="SYNAPSE_COMPLEMENT_DATABASE",
                value="sqlite",
                message="is set, and so is POSTGRES_HOST",
                hint="unset one of them",
            ),
        )


def says(settings: Settings) -> tuple[str, ...]:
    """What whoever starts such a server is told, loudly."""
    if not settings.test_mode:
        return ()
    why = (
        "GANGLION_TEST_MODE=yes"
        if "GANGLION_TEST_MODE" in settings.given
        else f"Complement's authority is in {settings.authority}"
    )
    secret = (
        "the registration secret given"
        if settings.registration_shared_secret
        else f"the registration secret {SHARED_SECRET!r}"
    )
    return (
        f"TEST MODE, as {why}: NOT FOR REAL USERS",
        f"TEST MODE: anybody may register, and make administrators with {secret}",
        "TEST MODE: anybody may use the administration API, and nobody meets a rate limit",
        "TEST MODE: passwords are hashed cheaply, and requests go to private addresses too",
        "TEST MODE: a crash of the machine, not of a process, may lose the database",
    )
