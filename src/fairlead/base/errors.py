"""The error that a user caused and can mend.

Everything else that goes wrong is a defect of ours or of the machine and may show a traceback; this never does.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user gave: shown as one message without a traceback, exit code 1.

    The message names the object and the field; `fix` says what to do about it.
    """

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix

    def __str__(self) -> str:
        """Return the message, followed by the fix where there is one."""
        message = super().__str__()
        return f"{message}\n  fix: {self.fix}" if self.fix else message
