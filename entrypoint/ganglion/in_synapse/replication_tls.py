"""Have a Synapse process trust only the containers of its own server when it asks for replication.

Synapse itself would trust every public authority there, as for requests to strangers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import crypto
from synapse.http import client
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

from ganglion.data.certificate_check import names_of

# The paths of this container's certificate and of the authorities, in PEM. Without authorities, all
# containers have the same certificate. Only containers that encrypt replication have the first.
OWN, AUTHORITIES = "GANGLION_REPLICATION_OWN", "GANGLION_REPLICATION_AUTHORITIES"
# How Synapse reaches a process of its own container: topology.LOOPBACK.
LOOPBACK = "127.0.0.1"
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
        trusted = own if self._authorities is None else self._authorities.read_bytes()
        name = hostname.decode("ascii")
        if self._authorities is None or name == LOOPBACK:
            name = names_of(x509.load_pem_x509_certificates(own)[0])[0]
        certificates = [Certificate.loadPEM(part + END) for part in trusted.split(END)[:-1]]
        options: Any = optionsForClientTLS(name, trustRootFromCertificates(certificates))
        # Nor does a trusted certificate need an authority above it.
        options._ctx.get_cert_store().set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        return options
