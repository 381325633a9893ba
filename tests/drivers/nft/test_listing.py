"""Listings of one table while others change theirs."""

from __future__ import annotations

import errno
from typing import cast

import pytest

from fairlead.drivers.nft import wire
from fairlead.drivers.nft.listing import Listing
from fairlead.drivers.nft.socket import DumpInterruptedError, NftError, NftSocket


class Interrupted:
    """A kernel whose first listings are interrupted by somebody's change."""

    def __init__(self, times: int) -> None:
        self.times = times

    def dump(self, message: wire.Message) -> list[bytes]:
        self.times -= 1
        if self.times >= 0:
            raise DumpInterruptedError
        return []


def test_whether_a_table_exists_is_asked_again_while_others_change() -> None:
    assert not Listing(cast(NftSocket, Interrupted(3)), "fairlead").exists()
    with pytest.raises(NftError) as error:
        Listing(cast(NftSocket, Interrupted(1000)), "fairlead").exists()
    assert error.value.errno == errno.EAGAIN
