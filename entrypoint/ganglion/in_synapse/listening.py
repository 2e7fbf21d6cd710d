"""Have a Synapse process listen at the sockets that the supervisor hands to it."""

import json
import os
import select
import socket
from collections.abc import Callable, Collection, MutableMapping
from functools import partial
from typing import Any

# Addresses and their descriptors, as JSON. The supervisor sets it for each process.
VARIABLE = "GANGLION_SOCKETS"
# Connections that may wait; the kernel's net.core.somaxconn limits it further.
BACKLOG = 4096


def take_over(environment: MutableMapping[str, str]) -> None:
    """Replace the functions by which Synapse opens sockets, for those that were handed over."""
    handed: dict[str, int] = json.loads(environment.pop(VARIABLE, "{}"))
    if not handed:
        return
    from synapse.app import _base
    from twisted.internet import reactor, tcp, unix

    # Twisted has no types for these.
    base: Any = _base
    tcp_port: Any = tcp.Port
    unix_port: Any = unix.Port
    listen_unix, listen_tcp = base.listen_unix, base.listen_tcp

    def adopt(address: str, family: int, factory: Any) -> Any:
        """Return a port at the socket that was handed over; None if there is none that works."""
        descriptor = handed.pop(address, None)
        if descriptor is None:
            return None
        try:
            if has_ended(descriptor):
                return None
            if family == socket.AF_UNIX:
                port = unix_port._fromListeningDescriptor(reactor, descriptor, factory)
                # Its path and the socket stay for the next process.
                port.connectionLost = partial(tcp_port.connectionLost, port)
                port._shouldShutdown = False
            else:
                port = tcp_port._fromListeningDescriptor(reactor, descriptor, family, factory)
            port.backlog = BACKLOG
            port.startListening()
        except OSError:
            # It was given up in this very moment: its path is gone.
            return None
        finally:
            # The port has a copy.
            os.close(descriptor)
        return port

    def at_path(path: str, mode: int, factory: Any, *rest: Any, **named: Any) -> Any:
        port = adopt(f"unix:{path}", socket.AF_UNIX, factory)
        return listen_unix(path, mode, factory, *rest, **named) if port is None else [port]

    def at_port(hosts: Collection[str], port: int, factory: Any, *rest: Any, **named: Any) -> Any:
        adopted = {host: adopt(f"{host}:{port}", socket.AF_INET, factory) for host in hosts}
        own = [host for host, found in adopted.items() if found is None]
        opened = listen_tcp(own, port, factory, *rest, **named) if own else []
        return [*(found for found in adopted.values() if found is not None), *opened]

    base.listen_unix, base.listen_tcp = at_path, at_port
    _encrypt(base, adopt)


def _encrypt(base: Any, adopt: Callable[[str, int, Any], Any]) -> None:
    """Replace the functions by which Synapse opens sockets for TLS, and renews certificates."""
    from twisted.protocols.tls import TLSMemoryBIOFactory

    ports: list[Any] = []
    listen_ssl, refresh = base.listen_ssl, base.refresh_certificate

    def at_port(
        hosts: Collection[str], port: int, factory: Any, context: Any, *rest: Any, **named: Any
    ) -> Any:
        # As listenSSL() wraps it.
        wrapped = TLSMemoryBIOFactory(context, False, factory)
        adopted = {host: adopt(f"{host}:{port}", socket.AF_INET, wrapped) for host in hosts}
        own = [host for host, found in adopted.items() if found is None]
        opened = listen_ssl(own, port, factory, context, *rest, **named) if own else []
        all_of_them = [*(found for found in adopted.values() if found is not None), *opened]
        ports.extend(all_of_them)
        return all_of_them

    def renewed(server: Any) -> None:
        """Have each port use the certificate that was read: Synapse's workers forget theirs."""
        refresh(server)
        for port in ports:
            context, factory = server.tls_server_context_factory, port.factory.wrappedFactory
            port.factory = TLSMemoryBIOFactory(context, False, factory)

    base.listen_ssl, base.refresh_certificate = at_port, renewed


def has_ended(descriptor: int) -> bool:
    """Return whether the supervisor has given up this listening socket."""
    return bool(pending(descriptor) & (select.POLLHUP | select.POLLERR))


def pending(descriptor: int) -> int:
    """Return the events of poll(2) that a socket has for a reader now."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return sum(events for _, events in poll.poll(0))
