# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Who may connect: lists of IP addresses.

Whoever can connect is believed whatever it says of a request.  On a Unix socket
the mode decides who can; a TCP port needs a list as soon as other machines can
reach it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from ipaddress import IPv6Address as IPv6

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

WEB_SERVER_ADDRS = "FCGI_WEB_SERVER_ADDRS"
"""
The environment variable that lists the addresses that may connect (FastCGI 1.0,
section 3.2).
"""


#: Bits of an IPv6 address before the IPv4 address that it stands for.
_MAPPED = 96


class Peers:
    """
    The IP addresses that may connect.

    @ivar name: Where the list stands, for messages.
    @ivar networks: What is in it.
    """

    def __init__(self, text: str, name: str = "the list of peers") -> None:
        """
        @param text: IPv4 and IPv6 addresses and networks, such as
            C{10.0.0.0/8}, with commas between them.
        @param name: Where the list stands, for messages.
        @raise ValueError: If it is not such a list.
        """
        self.name = name
        try:
            self.networks = [_network(item.strip()) for item in text.split(",")]
        except ValueError as error:
            raise ValueError(
                f"{name} is {text!r} ({error}): list IP addresses or networks, such "
                "as 192.168.1.5 or 10.0.0.0/8, with commas between them"
            ) from None

    def __contains__(self, host: object) -> bool:
        """
        Say whether an address is in the list; so is an IPv4 address in the form
        that it has on an IPv6 socket.
        """
        address = ip_address(str(host))
        if isinstance(address, IPv6):
            address = address.ipv4_mapped or address
        return any(address in network for network in self.networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    """
    Read a network; IPv4 in the form that it has on an IPv6 socket is IPv4.

    @raise ValueError: If it is none.
    """
    network = ip_network(text)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None:
        return network
    # A larger network has no such address: the bits before it are ones.
    return IPv4Network((mapped, network.prefixlen - _MAPPED))


def webServerPeers(environment: Mapping[str, str]) -> Peers | None:
    """
    Read the list that the environment has (FastCGI 1.0, section 3.2).

    @param environment: The environment.
    @return: The list; L{None} if there is none, so that all may connect.
    @raise ValueError: If it can't be read: then nobody knows who may connect.
    """
    value = environment.get(WEB_SERVER_ADDRS)
    if value is None:
        return None
    return Peers(value, f"the environment variable {WEB_SERVER_ADDRS}")


@implementer(IProtocolFactory)
class RestrictedFactory:
    """
    Has another factory serve only the peers that are listed.

    The connection of anybody else is closed before a byte of it is read.  Peers
    without an IP address, those of Unix sockets, are served.
    """

    _log = Logger()

    def __init__(self, factory: IProtocolFactory, lists: Sequence[Peers]) -> None:
        """
        @param factory: What builds the protocols.
        @param lists: A peer has to be in each of them.
        """
        self._factory = factory
        self._lists = lists

    def doStart(self) -> None:
        """
        See L{IProtocolFactory.doStart}.
        """
        self._factory.doStart()

    def doStop(self) -> None:
        """
        See L{IProtocolFactory.doStop}.
        """
        self._factory.doStop()

    def peerRefused(self) -> None:
        """
        Have the other factory count a connection that was refused elsewhere.
        """
        _count(self._factory)

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """
        Build a protocol for a listed peer.

        @param addr: The peer's address.
        @return: What the other factory builds, or L{None}.
        """
        if not isinstance(addr, (IPv4Address, IPv6Address)):
            return self._factory.buildProtocol(addr)
        for peers in self._lists:
            if addr.host not in peers:
                refuse(self._factory, self._log, addr.host, peers)
                return None
        return self._factory.buildProtocol(addr)


def refuse(factory: object, log: Logger, host: str, peers: Peers) -> None:
    """
    Say that a connection was refused, and why.

    @param factory: What would have served it: it counts that, by its method
        C{peerRefused}, if it has one.
    @param log: Where.
    @param host: The peer's address.
    @param peers: The list that it is not in.
    """
    message = "closed a connection from {peer}: {name} does not have it"
    log.warn(message, peer=host, name=peers.name)
    _count(factory)


def _count(factory: object) -> None:
    """
    Have a factory count a connection that was refused.
    """
    count = getattr(factory, "peerRefused", None)
    if count is not None:
        count()
