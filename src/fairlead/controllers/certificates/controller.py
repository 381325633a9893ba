"""The shell of the signers: hears of approved requests, and answers each once."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from fairlead.api.resources import CERTIFICATESIGNINGREQUESTS
from fairlead.base.errors import UserError
from fairlead.controllers import moments
from fairlead.controllers.actions import Status
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key

if TYPE_CHECKING:
    from fairlead.controllers.certificates.core import Authority

Json = dict[str, Any]


class SigningController(Controller):
    """Signs approved requests with the cluster's authority; without one it leaves all of them alone."""

    name = "certificatesigningrequest-signing-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._authority: Authority | None = None
        self._requests = self.follow(CERTIFICATESIGNINGREQUESTS, enqueue=self.enqueue)

    async def reconcile(self, key: Key) -> None:
        """Answer one request, if it is ours to answer."""
        request = self._requests.store.get(key)
        files = self.context.settings.cluster_signing
        if request is None or files is None:
            return
        # The library of certificates is loaded with the first request.
        from fairlead.controllers.certificates import core

        if not core.waits(request):
            return
        if self._authority is None:
            try:
                certificate, private = (file.read_bytes() for file in files)
                longest = datetime.timedelta(seconds=self.context.settings.cluster_signing_duration_s)
                self._authority = core.Authority.load(certificate, private, longest)
            except (OSError, ValueError) as error:
                raise UserError(f"--cluster-signing-key-file: {error}", fix="give files that can be read") from error
        now = self.context.now()
        status: Json = dict(request.get("status") or {})
        try:
            at = datetime.datetime.fromtimestamp(now, datetime.UTC)
            status["certificate"] = core.sign(request, self._authority, at)
        except core.Unfit as error:
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": str(error),
                "lastUpdateTime": moments.text(now),
            }
            status["conditions"] = [*(status.get("conditions") or ()), failed]
        await self.perform(key, [Status(CERTIFICATESIGNINGREQUESTS, {**request, "status": status})])
