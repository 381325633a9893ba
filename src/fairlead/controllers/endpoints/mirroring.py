"""The shell of mirrored Endpoints: a change of the Service, of its Endpoints or of a mirror asks for all three."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.endpoints import mirror
from fairlead.controllers.endpoints.slices import SERVICE_NAME
from fairlead.controllers.expectations import Key

Json = dict[str, Any]


class EndpointSliceMirroringController(Controller):
    """Keeps EndpointSlices of Endpoints that no controller of ours wrote."""

    name = "endpointslicemirroring-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = self.follow(SERVICES, enqueue=self.enqueue)
        self._endpoints = self.follow(ENDPOINTS, enqueue=self.enqueue)
        self.follow(ENDPOINTSLICES, enqueue=self._slice_changed)
        self._mirrors = context.informers.index(ENDPOINTSLICES, _endpoints_index)

    async def reconcile(self, key: Key) -> None:
        """Make the mirrors of one Endpoints object true."""
        service, endpoints = self._services.store.get(key), self._endpoints.store.get(key)
        await self.perform(key, mirror.reconcile(service, endpoints, list(self._mirrors.get(key))))

    def _slice_changed(self, endpoint_slice: Json) -> None:
        for key in _endpoints_index(endpoint_slice):
            self.queue.add(key)


def _endpoints_index(endpoint_slice: Json) -> tuple[Key, ...]:
    """Index function: the Endpoints object of a mirror."""
    if not mirror.is_mirror(endpoint_slice):
        return ()
    metadata = endpoint_slice["metadata"]
    return ((metadata["namespace"], metadata["labels"].get(SERVICE_NAME, "")),)
