"""Pools of addresses and ports, each given to one Service at a time.

What is asked for by number is given from anywhere; what the server chooses comes from the upper band first, so that the lower one stays free
for those who ask. Source: KEP-3070 (addresses), KEP-3668 (node ports). Pure but for the random choice.
"""

from __future__ import annotations

import ipaddress
import random


class PoolError(Exception):
    """A request that a pool cannot fulfill, in the real server's words."""


class Full(PoolError):
    """Nothing is left."""

    def __init__(self) -> None:
        super().__init__("range is full")


class Pool:
    """Numbers 0 … size-1; below `reserved` lies the band that the server chooses from last."""

    def __init__(self, size: int, reserved: int) -> None:
        self._size = size
        self._reserved = reserved if reserved < size else 0
        self._used: set[int] = set()

    def __len__(self) -> int:
        return len(self._used)

    def take(self, number: int) -> bool:
        """Take `number`; False when it is taken."""
        if number in self._used:
            return False
        self._used.add(number)
        return True

    def choose(self) -> int:
        """Take a free number and return it; raises Full."""
        for low, high in ((self._reserved, self._size), (0, self._reserved)):
            width = high - low
            if width <= 0:
                continue
            start = random.randrange(width)
            for step in range(min(width, len(self._used) + 1)):
                number = low + (start + step) % width
                if number not in self._used:
                    self._used.add(number)
                    return number
        raise Full

    def free(self, number: int) -> None:
        """Give `number` back; nothing happens when it is free."""
        self._used.discard(number)


class AddressPool:
    """The cluster addresses of one family, out of `cidr`."""

    def __init__(self, cidr: str) -> None:
        self.network = ipaddress.ip_network(cidr)
        self.family = f"IPv{self.network.version}"
        total = self.network.num_addresses
        # The network's own address is never given, nor is IPv4's broadcast address; of IPv6 64 Ki are used at most.
        size = total - 2 if self.network.version == 4 else min(total, 1 << 16) - 1
        self._pool = Pool(max(size, 0), min(max(16, total // 16), 256))
        self._size = size
        self._first = int(self.network.network_address) + 1

    def __repr__(self) -> str:
        return f"<AddressPool {self.network} used={len(self._pool)}>"

    def take(self, address: str) -> None:
        """Take `address`; raises PoolError when it is taken or outside."""
        number = self._number(address)
        if number is None:
            raise PoolError(
                f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self.network}"
            )
        if not self._pool.take(number):
            raise PoolError("provided IP is already allocated")

    def choose(self) -> str:
        """Take a free address and return it; raises Full."""
        return str(ipaddress.ip_address(self._first + self._pool.choose()))

    def free(self, address: str) -> None:
        """Give `address` back."""
        number = self._number(address)
        if number is not None:
            self._pool.free(number)

    def _number(self, address: str) -> int | None:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return None
        number = int(found) - self._first
        return number if found in self.network and 0 <= number < self._size else None


class PortPool:
    """The node ports from `first` to `last`."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        size = last - first + 1
        self._pool = Pool(size, min(max(16, size // 32), 128))

    def __repr__(self) -> str:
        return f"<PortPool {self.first}-{self.last} used={len(self._pool)}>"

    def take(self, port: int) -> None:
        """Take `port`; raises PoolError when it is taken or outside."""
        if not self.first <= port <= self.last:
            raise PoolError(
                f"provided port is not in the valid range. The range of valid ports is {self.first}-{self.last}"
            )
        if not self._pool.take(port - self.first):
            raise PoolError("provided port is already allocated")

    def choose(self) -> int:
        """Take a free port and return it; raises Full."""
        return self.first + self._pool.choose()

    def free(self, port: int) -> None:
        """Give `port` back."""
        if self.first <= port <= self.last:
            self._pool.free(port - self.first)
