"""Have a Synapse process trust only the containers of its own server when it asks for replication.

Synapse itself would trust every public authority there, as for requests to strangers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import crypto
from synapse.http import client
from twisted.internet import ssl

# The paths of this container's certificate and of the authorities, in PEM. Without authorities, all
# containers have the same certificate. Only containers that encrypt replication have the first.
OWN, AUTHORITIES = "GANGLION_REPLICATION_OWN", "GANGLION_REPLICATION_AUTHORITIES"
# How Synapse reaches a process of its own container: topology.LOOPBACK.
LOOPBACK = "127.0.0.1"
# Twisted's module without types.
TLS: Any = ssl
END = b"-----END CERTIFICATE-----"


def prepare(environment: Mapping[str, str]) -> None:
    """Replace the rules by which Synapse's client for replication verifies certificates."""
    own = environment.get(OWN)
    if not own:
        return
    # Synapse has the class by its name, and constructs it once.
    module: Any = client
    agent = module.ReplicationAgent
    policy = Policy(own, environment.get(AUTHORITIES))

    def trusting(*arguments: Any, **named: Any) -> Any:
        return agent(*arguments, **{**named, "contextFactory": policy})

    module.ReplicationAgent = trusting


class Policy:
    """Makes the TLS options of a connection: twisted.web.iweb.IPolicyForHTTPS, by its method.

    The files are read for each connection, as they may be renewed. Connections are kept open.
    """

    def __init__(self, own: str, authorities: str | None) -> None:
        self._own = Path(own)
        self._authorities = Path(authorities) if authorities else None

    def creatorForNetloc(self, hostname: bytes, _port: int) -> Any:
        """Return the options for a connection to a host. Raises OSError and ValueError."""
        own = self._own.read_bytes()
        name = hostname.decode("ascii")
        if self._authorities is None or name == LOOPBACK:
            name = _first_name(own)
        if self._authorities is None:
            # Not those above it, which sign others as well.
            trusted = _parts(own)[:1]
        else:
            trusted = _parts(self._authorities.read_bytes())
        return TLS.optionsForClientTLS(name, _trust(trusted))


def _parts(content: bytes) -> list[bytes]:
    """Return each certificate of a file."""
    return [part + END for part in content.split(END)[:-1]]


def _first_name(content: bytes) -> str:
    """Return the first name, or else the first address, of a certificate: each start checks it."""
    certificate = x509.load_pem_x509_certificates(content)[0]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)][0]


def _trust(certificates: list[bytes]) -> Any:
    """Return Twisted's object that trusts certificates in PEM, and no other."""
    trust = TLS.trustRootFromCertificates([TLS.Certificate.loadPEM(each) for each in certificates])
    add = trust._addCACertsToContext

    def add_alone(context: Any) -> None:
        add(context)
        # A trusted certificate needs no authority above it.
        context.get_cert_store().set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)

    trust._addCACertsToContext = add_alone
    return trust
