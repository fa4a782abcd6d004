"""The addresses of this machine under which other machines reach a server."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

ANY_ADDRESS = ("0.0.0.0", "::")
# addresses of documentation: choosing a route to them sends nothing
_FAR_AWAY = {socket.AF_INET: ("192.0.2.1", 9), socket.AF_INET6: ("2001:db8::1", 9)}


def reachable_addresses(host: str) -> tuple[str, ...]:
    """The addresses that a server listening on `host` has, the most useful one first.

    That is `host` itself, unless it stands for all addresses of the machine.
    """
    if host not in ANY_ADDRESS:
        return (host,)
    families = [socket.AF_INET]
    if host == "::":
        families.append(socket.AF_INET6)
    addresses: list[str] = []
    for family in families:
        addresses += _outward_address(family)
        addresses += _addresses_of_name(family)
    unique = tuple(dict.fromkeys(addresses))
    return (*filter(_reaches_others, unique), "127.0.0.1")


def _outward_address(family: socket.AddressFamily) -> list[str]:
    """The address from which this machine reaches others."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(_FAR_AWAY[family])
        return [str(probe.getsockname()[0])]
    return []


def _addresses_of_name(family: socket.AddressFamily) -> list[str]:
    with contextlib.suppress(OSError):
        return [
            str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, family)
        ]
    return []


def _reaches_others(address: str) -> bool:
    plain = ipaddress.ip_address(address.partition("%")[0])
    return not (plain.is_loopback or plain.is_link_local or plain.is_unspecified)
