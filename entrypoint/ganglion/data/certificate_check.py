"""Faults of a TLS certificate and key that a program would meet later, or never report.

Imported only where there is a certificate: `cryptography` takes its time.
"""

import datetime as dt
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

CERT, KEY = "SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"
RENEW = "renew it, or unset SYNAPSE_TLS_CERT and SYNAPSE_TLS_KEY to serve HTTP only"
REPLICATION_CERT, REPLICATION_KEY = "GANGLION_REPLICATION_CERT", "GANGLION_REPLICATION_KEY"
REPLICATION_CA = "GANGLION_REPLICATION_CA"
MAKE = "make another one: docs/several-machines.md has the command"
DECRYPT = "remove the passphrase: openssl pkey -in KEY -out NEW-KEY"
# A fault as variable, message and fix.
Fault = tuple[str, str, str]


def faults(
    chain: bytes, key: bytes, now: dt.datetime, names: tuple[str, str] = (CERT, KEY)
) -> Iterator[Fault]:
    """Every fault of a certificate and its key. `now` has a time zone.

    `names` are those of their variables.
    """
    cert_name, key_name = names
    certificate = None
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        yield (
            cert_name,
            "is not a certificate in PEM format",
            "give the PEM file of the whole chain",
        )
    if certificate is not None:
        yield from _times(certificate, now, cert_name)
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        yield key_name, "has a passphrase, which nobody is there to type", DECRYPT
        return
    except (ValueError, UnsupportedAlgorithm):
        yield key_name, "is not a private key in PEM format", "give the PEM file of the key"
        return
    if certificate is not None and private.public_key() != certificate.public_key():
        yield (
            key_name,
            f"does not belong to the first certificate of {cert_name}",
            "give the key that the certificate was made with",
        )


def _times(certificate: x509.Certificate, now: dt.datetime, name: str) -> Iterator[Fault]:
    if certificate.not_valid_after_utc < now:
        renew = RENEW if name == CERT else MAKE
        yield name, f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC", renew
    if certificate.not_valid_before_utc > now:
        since = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        yield name, f"is valid only from {since}", "set the machine's clock, or wait"


def faults_of_replication(
    chain: bytes, key: bytes, authorities: bytes | None, hosts: Iterable[str], now: dt.datetime
) -> Iterator[Fault]:
    """Every fault of what encrypts replication.

    With authorities, the certificate has to name `hosts`, by which other containers connect;
    without, all containers have the same certificate, and it names anything.
    """
    found = list(faults(chain, key, now, (REPLICATION_CERT, REPLICATION_KEY)))
    yield from found
    if authorities is not None:
        try:
            for each in x509.load_pem_x509_certificates(authorities):
                yield from _times(each, now, REPLICATION_CA)
        except ValueError:
            yield (
                REPLICATION_CA,
                "has no certificate in PEM format",
                "give the authority's PEM file",
            )
    if any(name == REPLICATION_CERT for name, _, _ in found):
        return
    names = names_of(x509.load_pem_x509_certificates(chain)[0])
    if not names:
        yield REPLICATION_CERT, "names no host (subject alternative name)", MAKE
    elif authorities is not None:
        missing = [host for host in hosts if not any(_covers(name, host) for name in names)]
        if missing:
            yield (
                REPLICATION_CERT,
                f"is for {', '.join(names)}, and other containers connect to {', '.join(missing)}",
                "add these names to the certificate, or change GANGLION_HOSTS",
            )


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the names of hosts in a certificate, and then its addresses."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return [*found.get_values_for_type(x509.DNSName), *addresses]


def _covers(name: str, host: str) -> bool:
    """Return whether a name of a certificate, such as *.example.org, is that of a host."""
    name, host = name.lower(), host.lower()
    if name.startswith("*."):
        return "." in host and host.partition(".")[2] == name.removeprefix("*.")
    return name == host
