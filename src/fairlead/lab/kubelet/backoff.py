"""The crash loop's back-off of one container (KubeletConfiguration crashLoopBackOff defaults: 10 s doubling to 5 minutes)."""

from __future__ import annotations

FIRST_S = 10.0
MOST_S = 300.0
_FORGIVEN_AFTER_S = 2 * MOST_S


class Backoff:
    """When a container that ended may start again: at once the first time, then after ever longer delays.

    Times are Unix seconds. A container that ran for ten minutes begins anew.
    """

    def __init__(self, restarts: int = 0, last_start: float = 0.0) -> None:
        """`restarts` and `last_start` restore what a kubelet knew before it was restarted."""
        self.delay_s = min(FIRST_S * 2 ** min(restarts - 1, 10), MOST_S) if restarts > 0 else 0.0
        self._last_start = last_start

    def retry_at(self, finished_at: float) -> float:
        """Return when the container that ended at `finished_at` may start."""
        return finished_at + (0.0 if self._expired(finished_at) else self.delay_s)

    def restarted(self, finished_at: float, now: float) -> None:
        """Record a restart at `now` of what ended at `finished_at`."""
        grown = FIRST_S if self._expired(finished_at) or not self.delay_s else self.delay_s * 2
        self.delay_s = min(grown, MOST_S)
        self._last_start = now

    def _expired(self, finished_at: float) -> bool:
        return finished_at - self._last_start > _FORGIVEN_AFTER_S


def go_duration(seconds: float) -> str:
    """Return seconds as Go prints a duration: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
