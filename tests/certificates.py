"""A certificate authority for tests, and certificates that it signs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority. `path` is a PEM file of its certificate, for clients to trust."""

    ca: trustme.CA
    path: Path

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Make an authority and write its certificate into `directory`."""
        ca = trustme.CA()
        path = directory / "authority.pem"
        ca.cert_pem.write_to_path(path)
        return cls(ca=ca, path=path)

    def as_complement(self, directory: Path) -> Path:
        """Write ca.crt and ca.key into a directory, as Complement does. Returns the directory."""
        self.ca.cert_pem.write_to_path(directory / "ca.crt")
        self.ca.private_key_pem.write_to_path(directory / "ca.key")
        return directory

    def issue(self, directory: Path) -> tuple[Path, Path]:
        """Write a certificate for localhost and 127.0.0.1, and its key, into `directory`.

        Returns their paths. The key has mode 0600.
        """
        made = self.ca.issue_cert("localhost", "127.0.0.1")
        certificate, key = directory / "tls.pem", directory / "tls.key"
        certificate.write_bytes(made.cert_chain_pems[0].bytes())
        key.touch(mode=0o600)
        key.write_bytes(made.private_key_pem.bytes())
        return certificate, key
