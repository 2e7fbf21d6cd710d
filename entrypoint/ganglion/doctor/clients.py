"""The check of the server's name, as a client looks it up.

https://spec.matrix.org/latest/client-server-api/#well-known-uri
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.doctor.federation import FAILURES, WELL_KNOWN, discover
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.network import MOST_REDIRECTS, Response, why
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class ForClients:
    """The document /.well-known/matrix/client, and the URL that this server has for clients."""

    url: str
    baseurl: str | None
    response: Response | None = None
    failure: str | None = None


def observe_clients(place: Place) -> ForClients:
    """Ask for the document that tells clients where the homeserver is."""
    found = discover(place)
    if found.resolver is not None:
        raise Unavailable("no name server answers")
    url = f"https://{found.host}{WELL_KNOWN}/client"
    baseurl = place.public_baseurl
    if baseurl is None:
        raise Unavailable("SYNAPSE_PUBLIC_BASEURL is not set, so clients need the whole URL")
    if not found.addresses:
        return ForClients(url=url, baseurl=baseurl, failure="the name has no address")
    try:
        response = place.network.get(url, address=found.addresses[0], redirects=MOST_REDIRECTS)
    except FAILURES as error:
        return ForClients(url=url, baseurl=baseurl, failure=why(error))
    return ForClients(url=url, baseurl=baseurl, response=response)


def judge_clients(found: ForClients) -> Iterator[Finding]:
    """Judge the document: its base_url must be this server's, and browsers must be allowed."""
    baseurl = (found.baseurl or "").rstrip("/")
    document = f'{{"m.homeserver": {{"base_url": "{baseurl}"}}}}'
    repair = (
        "have the proxy pass /.well-known/matrix/client on to HTTP_PORT, or serve there",
        f"{document} with the header Access-Control-Allow-Origin: *",
    )
    means = "people who log in with their user ID do not find this server"
    response = found.response
    if response is None or response.status != 200:
        reason = f"answers {response.status}" if response else f"cannot be read: {found.failure}"
        yield notice(f"{found.url} {reason}", means, *repair)
        return
    server = (response.mapping() or {}).get("m.homeserver")
    url = server.get("base_url") if isinstance(server, dict) else None
    if not isinstance(url, str):
        yield bad(f"{found.url} names no m.homeserver.base_url", means, *repair)
    elif url.rstrip("/") != baseurl:
        yield bad(
            f"{found.url} names {url}, and this server's URL for clients is {baseurl}",
            "clients talk to another address than the one that this server uses in links",
            f"SYNAPSE_PUBLIC_BASEURL={url}    # if that one is right; else:",
            *repair,
        )
    elif response.headers.get("access-control-allow-origin") != "*":
        yield bad(
            f"{found.url} lacks the header Access-Control-Allow-Origin: *",
            "clients in a browser may not read it, and report that there is no such server",
            *repair,
        )
    else:
        yield good(f"{found.url} names {url}")


CHECKS = (
    Check(
        name="well-known-client",
        about="`/.well-known/matrix/client` of the server name: this server's public URL, and the"
        " header that lets browsers read it",
        observe=observe_clients,
        judge=judge_clients,
    ),
)
