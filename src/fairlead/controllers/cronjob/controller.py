"""The shell of CronJobs."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import CRONJOBS, JOBS
from fairlead.controllers import ownership
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.cronjob import core
from fairlead.controllers.expectations import Key

Json = dict[str, Any]


class CronJobController(Controller):
    """Starts the Jobs of CronJobs."""

    name = "cronjob-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._crons = self.follow(CRONJOBS, enqueue=self.enqueue)
        self.follow_owned(JOBS, CRONJOBS.kind)
        self._jobs = context.informers.index(JOBS, ownership.controller_index)

    async def reconcile(self, key: Key) -> None:
        """Start what is due of one CronJob."""
        cron = self._crons.store.get(key)
        if cron is not None:
            jobs = list(self._jobs.get(cron["metadata"]["uid"]))
            await self.perform(key, core.reconcile(cron, jobs, now=self.context.now()))
