"""The shell of EndpointSlices and Endpoints: which Services a change of a pod concerns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.api.resources import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES
from fairlead.base.selectors import LabelSelector
from fairlead.controllers import moments, podstate
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.endpoints import desired, legacy, slices
from fairlead.controllers.expectations import Key
from fairlead.sources.informer import key_of

Json = dict[str, Any]

_GATHER_S = 0.01


class _PerService(Controller):
    """Keeps something true for each Service that selects pods."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._selectors: dict[str, dict[str, LabelSelector]] = {}
        self._triggers: dict[Key, float] = {}
        self._services = self.follow(SERVICES)
        self._services.on_change(self._service_changed)
        self.follow(PODS).on_change(self._pod_changed)
        self._pods = context.informers.index(PODS, _namespace)

    def _matched(self, service: Json) -> list[Json] | None:
        """Return the pods that `service` selects, None if it does not select."""
        selector = desired.selector_of(service)
        if selector is None:
            return None
        namespace = service["metadata"]["namespace"]
        return [pod for pod in self._pods.get(namespace) if selector.matches(pod["metadata"].get("labels"))]

    def _take_trigger(self, key: Key) -> str | None:
        at = self._triggers.pop(key, None)
        return moments.micro_text(at) if at is not None else None

    def _touch(self, key: Key) -> None:
        self._triggers.setdefault(key, self.context.now())
        self.queue.add_after(key, _GATHER_S)

    def _service_changed(self, old: Json | None, new: Json | None) -> None:
        current = new or old
        assert current is not None
        namespace, name = key_of(current)
        selector = desired.selector_of(new) if new is not None else None
        if selector is not None:
            self._selectors.setdefault(namespace, {})[name] = selector
        else:
            self._selectors.get(namespace, {}).pop(name, None)
        self._touch((namespace, name))

    def _pod_changed(self, old: Json | None, new: Json | None) -> None:
        before, after = _facts(old), _facts(new)
        if before == after:
            return
        namespace = key_of(new or old or {})[0]
        for name, selector in self._selectors.get(namespace, {}).items():
            if any(pod is not None and selector.matches(pod["metadata"].get("labels")) for pod in (old, new)):
                self._touch((namespace, name))


def _facts(pod: Json | None) -> object:
    """Return all of a pod that endpoints depend on."""
    if pod is None:
        return None
    spec, status = pod["spec"], pod.get("status", {})
    return (
        pod["metadata"].get("labels"),
        spec.get("nodeName"),
        status.get("podIP"),
        status.get("podIPs"),
        podstate.is_ready(pod),
        podstate.is_terminating(pod),
        podstate.is_finished(pod),
    )


def _namespace(obj: Json) -> tuple[str, ...]:
    return (obj["metadata"]["namespace"],)


def _service_index(endpoint_slice: Json) -> tuple[Key, ...]:
    """Index function: the Service of a slice of ours."""
    if not slices.is_ours(endpoint_slice):
        return ()
    metadata = endpoint_slice["metadata"]
    return ((metadata["namespace"], metadata["labels"].get(slices.SERVICE_NAME, "")),)


class EndpointSliceController(_PerService):
    """Keeps the EndpointSlices of Services."""

    name = "endpoint-slice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._slices = context.informers.index(ENDPOINTSLICES, _service_index)
        self.follow(ENDPOINTSLICES).on_change(self._slice_changed)
        self._zones: dict[str, str] = {}
        self.follow(NODES).on_change(self._node_changed)

    async def reconcile(self, key: Key) -> None:
        """Make the slices of one Service true."""
        service = self._services.store.get(key)
        if service is None or "deletionTimestamp" in service["metadata"]:
            self._triggers.pop(key, None)
            return
        pods = self._matched(service)
        if pods is None:
            return
        trigger = self._take_trigger(key)
        existing = list(self._slices.get(key))
        await self.perform(key, slices.reconcile(service, pods, existing, self._zones, trigger_time=trigger))

    def _slice_changed(self, old: Json | None, new: Json | None) -> None:
        for endpoint_slice in (old, new):
            if endpoint_slice is not None:
                for key in _service_index(endpoint_slice):
                    self.queue.add_after(key, _GATHER_S)

    def _node_changed(self, old: Json | None, new: Json | None) -> None:
        name = key_of(new or old or {})[1]
        zone = _labels(new).get(desired.ZONE, "") if new is not None else None
        if self._zones.get(name) == zone:
            return
        if zone is not None:
            self._zones[name] = zone
        else:
            del self._zones[name]
        for namespace, names in self._selectors.items():
            for service in names:
                self.queue.add_after((namespace, service), _GATHER_S)


def _labels(obj: Json | None) -> Mapping[str, str]:
    return (obj["metadata"].get("labels") or {}) if obj is not None else {}


class EndpointsController(_PerService):
    """Keeps the Endpoints objects of Services."""

    name = "endpoint-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._endpoints = self.follow(ENDPOINTS, enqueue=self.enqueue)

    async def reconcile(self, key: Key) -> None:
        """Make the Endpoints object of one Service true; it goes with its Service."""
        service, existing = self._services.store.get(key), self._endpoints.store.get(key)
        if service is None:
            self._triggers.pop(key, None)
            if existing is not None and _labels(existing).get(legacy.MANAGED_BY) == legacy.MANAGER:
                metadata = existing["metadata"]
                await self.client.delete(ENDPOINTS, key[1], namespace=key[0], uid=metadata["uid"])
            return
        pods = self._matched(service)
        if pods is not None:
            trigger = self._take_trigger(key)
            await self.perform(key, legacy.reconcile(service, pods, existing, trigger_time=trigger))
