"""`pause`: does nothing until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
from collections.abc import Sequence


def run(args: Sequence[str]) -> int:
    """Wait for the signal; arguments are ignored, as the image ignores them."""
    del args
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    # Handlers make the signals deliverable to process 1 of a PID namespace.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    return 0
