"""Faults of a TLS certificate and key that nginx would meet later, or never report.

Imported only where there is a certificate: `cryptography` takes its time.
"""

import datetime as dt
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

CERT, KEY = "SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"
RENEW = "renew it, or unset SYNAPSE_TLS_CERT and SYNAPSE_TLS_KEY to serve HTTP only"
DECRYPT = "remove the passphrase: openssl pkey -in KEY -out NEW-KEY"


def faults(chain: bytes, key: bytes, now: dt.datetime) -> Iterator[tuple[str, str, str]]:
    """Every fault as variable, message and fix. `now` has a time zone."""
    certificate = None
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        yield CERT, "is not a certificate in PEM format", "give the PEM file of the whole chain"
    if certificate is not None:
        if certificate.not_valid_after_utc < now:
            yield CERT, f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC", RENEW
        if certificate.not_valid_before_utc > now:
            since = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            yield CERT, f"is valid only from {since}", "set the machine's clock, or wait"
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        yield KEY, "has a passphrase, which nginx would wait for", DECRYPT
        return
    except (ValueError, UnsupportedAlgorithm):
        yield KEY, "is not a private key in PEM format", "give the PEM file of the key"
        return
    if certificate is not None and private.public_key() != certificate.public_key():
        yield (
            KEY,
            "does not belong to the first certificate of SYNAPSE_TLS_CERT",
            ("give the key that the certificate was made with"),
        )
