"""Takes addresses of names back when their time is over and no connection uses them; apart from that, the policy driver keeps them."""

from __future__ import annotations

import asyncio
import logging

from fairlead.drivers.nft.policy.driver import PolicyDriver

log = logging.getLogger(__name__)

_PERIOD_S = 10.0


async def expire_names(policy: PolicyDriver) -> None:
    """Look for such addresses, forever."""
    while True:
        await asyncio.sleep(_PERIOD_S)
        try:
            while await policy.expire():
                pass
        except OSError as error:
            log.warning("addresses of names not taken back", extra={"error": str(error)})
