"""DNS and HTTP as a stranger uses them: the name servers alone, without /etc/hosts.

A container's own name, or a line in its /etc/hosts, would hide a fault that all others meet.
"""

import http.client
import secrets
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from ganglion.settings.reading import parse_json

RESOLV_CONF = "/etc/resolv.conf"
DNS_PORT = 53
# Bytes of a response that are read. A well-known document has some hundred.
LONGEST_BODY = 50 * 1024
NO_SUCH_NAME = 3
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
DEFAULT_PORTS = {"http": 80, "https": 443}

Connect = Callable[[str, int, float], socket.socket]


class NoResolver(Exception):
    """No name server answers. The argument says which were asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A target of an SRV record."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response of HTTP. Names of headers are in lower case.

    `certificate_ends` is in seconds since 1970; None without TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    certificate_ends: float | None = None

    def json(self) -> object:
        """Return the body as JSON. Raises ValueError."""
        return parse_json(self.body.decode("utf-8"))

    def mapping(self) -> Mapping[str, object] | None:
        """Return the body if it is a JSON object, else None."""
        try:
            found = self.json()
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    return socket.create_connection((host, port), timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The network outside. `timeout` is of each step, in seconds.

    `nameservers` are those of resolv.conf. `connect` opens a TCP connection to an IP address, or to
    a host that this machine's own resolver finds.
    """

    nameservers: tuple[tuple[str, int], ...]
    timeout: float = 0.9
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    connect: Connect = _connect

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the IPv4 and IPv6 addresses of a host name; none if it has none.

        Raises NoResolver.
        """
        from twisted.names import dns  # noqa: PLC0415

        four, six = (self._records(host, kind) for kind in (dns.A, dns.AAAA))
        return (
            *(
                socket.inet_ntop(socket.AF_INET, item.address)
                for item in four
                if isinstance(item, dns.Record_A) and item.address
            ),
            *(
                socket.inet_ntop(socket.AF_INET6, item.address)
                for item in six
                if isinstance(item, dns.Record_AAAA) and item.address
            ),
        )

    def services(self, name: str) -> tuple[Service, ...]:
        """Return the targets of a name's SRV records, best first. Raises NoResolver."""
        from twisted.names import dns  # noqa: PLC0415

        found = [item for item in self._records(name, dns.SRV) if isinstance(item, dns.Record_SRV)]
        found.sort(key=lambda item: (item.priority, -item.weight))
        return tuple(
            Service(host=item.target.name.decode("ascii", "replace"), port=item.port)
            for item in found
            # "." says that there is no such service: RFC 2782.
            if item.target.name not in (b"", b".")
        )

    def _records(self, name: str, kind: int) -> list[object]:
        from twisted.names import dns  # noqa: PLC0415

        number = secrets.randbelow(65536)
        query = dns.Message(id=number, recDes=1)
        query.addQuery(name.encode("ascii"), kind, dns.IN)
        data = query.toStr()
        for server, seconds in zip(self.nameservers, self.patience(), strict=True):
            answer = self._ask(server, data, number, seconds)
            if answer is not None and answer.rCode in (dns.OK, NO_SUCH_NAME):
                return [item.payload for item in answer.answers]
        raise NoResolver(", ".join(host for host, _ in self.nameservers) or "none is configured")

    def patience(self) -> tuple[float, ...]:
        """Return the seconds for each name server, `timeout` in all: half of them for the first.

        With `timeout` for each, three that are silent would take all of the doctor's time, and no
        check could say that it is they that do not answer.
        """
        others = len(self.nameservers) - 1
        if others < 1:
            return (self.timeout,) * len(self.nameservers)
        return (self.timeout / 2, *(self.timeout / 2 / others for _ in range(others)))

    def _ask(  # type: ignore[no-untyped-def] # noqa: ANN202
        self, server: tuple[str, int], data: bytes, number: int, seconds: float
    ):
        """Return the answer of one name server, None without a usable one."""
        from twisted.names import dns  # noqa: PLC0415

        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(seconds)
            answer = dns.Message()
            try:
                asking.connect(server)
                asking.send(data)
                answer.fromStr(asking.recv(4096))
            except Exception:  # noqa: BLE001 - a lying server may send anything
                return None
        return answer if answer.id == number and answer.answer else None

    def get(
        self,
        url: str,
        *,
        address: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
        redirects: int = 0,
    ) -> Response:
        """Return the response to one request, after at most `redirects` redirects.

        `address` is the IP address to connect to instead of asking this machine's resolver for the
        host. Raises OSError, http.client.HTTPException, and ValueError for an unusable URL.
        """
        parts = urlsplit(url)
        host = parts.hostname
        if parts.scheme not in DEFAULT_PORTS or not host:
            raise ValueError(f"{url!r} is not a URL of HTTP")
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        with self.connect(address or host, port, self.timeout) as raw:
            raw.settimeout(self.timeout)
            stream, ends = raw, None
            if parts.scheme == "https":
                stream = self.context.wrap_socket(raw, server_hostname=host)
                end = (stream.getpeercert() or {}).get("notAfter")
                ends = ssl.cert_time_to_seconds(end) if isinstance(end, str) else None
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
            connection.sock = stream
            path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
            try:
                # http.client leaves the port out of the header where it is HTTP's own alone.
                given = {"Host": parts.netloc.rpartition("@")[2], **(headers or {})}
                connection.request(method, path, body=body, headers=given)
                answer = connection.getresponse()
                found = Response(
                    status=answer.status,
                    headers={name.lower(): value for name, value in answer.getheaders()},
                    body=answer.read(LONGEST_BODY),
                    url=url,
                    certificate_ends=ends,
                )
            finally:
                connection.close()
                stream.close()
        target = found.headers.get("location")
        if found.status in REDIRECTS and target and redirects:
            return self._redirected(url, target, redirects - 1)
        return found

    def _redirected(self, url: str, target: str, redirects: int) -> Response:
        to = urljoin(url, target)
        host = urlsplit(to).hostname or ""
        found = () if is_address(host) else self.addresses(host)
        return self.get(to, address=found[0] if found else None, redirects=redirects)


def nameservers() -> tuple[tuple[str, int], ...]:
    """Return the name servers of this machine."""
    try:
        text = Path(RESOLV_CONF).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    words = (line.split() for line in text.splitlines())
    found = (item[1].partition("%")[0] for item in words if item[:1] == ["nameserver"] and item[1:])
    return tuple((host, DNS_PORT) for host in found if is_address(host))


def is_address(host: str) -> bool:
    """Return whether a host is an IP address, not a name."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def why(error: Exception) -> str:
    """Return why a request failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
