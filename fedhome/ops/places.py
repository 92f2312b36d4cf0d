"""Places for connections: whoever comes when all are taken takes the place of another.

To refuse who comes last lets anybody shut a server by taking all places and keeping them. Here it
is the oldest connection that goes, of whoever has the most: a newcomer always gets a place, keeps
it for as long as others need to fill all of them again, and who holds many pays for it first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_IPV6_HOME = 64  # bits: who has one address of such a network has all of them


class Places(Generic[T]):
    """Places that are given out to whoever comes.

    Args:
        most: How many there are.
        each: How many of them one owner has, at most.
    """

    def __init__(self, most: int, each: int) -> None:
        self.most, self.each = most, each
        self._taken: dict[str, dict[T, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, owner: str, one: T) -> T | None:
        """Take a place.

        Args:
            owner: Whose it is, such as an address.
            one: Who takes it; it has none yet.

        Returns:
            Who has lost a place for that: the oldest of the same owner, if that one has more than
            its share; else the oldest of whoever has the most, if there are no more places.
        """
        own = self._taken.setdefault(owner, {})
        own[one] = None
        self._count += 1
        if len(own) > self.each:
            return self._oldest(owner)
        if self._count > self.most:
            return self._oldest(max(self._taken, key=lambda name: len(self._taken[name])))
        return None

    def leave(self, owner: str, one: T) -> None:
        """Give a place back; whoever has lost it already changes nothing."""
        own = self._taken.get(owner, {})
        if one in own:
            del own[one]
            self._count -= 1
            if not own:
                del self._taken[owner]

    def oldest(self) -> T | None:
        """Take a place from the oldest of whoever has the most; None if nobody has one."""
        if not self._taken:
            return None
        return self._oldest(max(self._taken, key=lambda name: len(self._taken[name])))

    def _oldest(self, owner: str) -> T:
        one = next(iter(self._taken[owner]))
        self.leave(owner, one)
        return one


def neighbourhood(host: str) -> str:
    """Return what of an address is one owner's: all of IPv4, the first half of IPv6.

    Args:
        host: The address, as a socket tells it.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_HOME), strict=False))
    return str(address)
