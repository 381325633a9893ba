"""The shell around the gateway's model: follows its objects, keeps the Gateways' Services, and writes statuses.

One snapshot of everything, changed by events, so that what the statuses say is what the nodes compile. Costs time proportional to what
changed, and to the number of Gateways.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from fairlead.api import certificate, client_authority, credentials, trust_material
from fairlead.api.decode import decode
from fairlead.api.resources import (
    CONFIGMAPS,
    CRDS,
    ENDPOINTSLICES,
    GATEWAY_KINDS,
    GATEWAYCLASSES,
    GATEWAYS,
    INGRESSCLASSES,
    INGRESSES,
    LISTENERSETS,
    MIDDLEWARES,
    NAMESPACES,
    NODES,
    SECRETS,
    SERVICES,
    Resource,
)
from fairlead.base.diagnostics import Diagnostic
from fairlead.controllers import conditions, moments
from fairlead.controllers.actions import Action, Create, Patch, Status
from fairlead.controllers.actions import Event as Told
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.gateway import leaving, services
from fairlead.controllers.loadbalancers.core import lacking
from fairlead.controllers.ownership import reference_to
from fairlead.model.gateway import problems, status, trust, versions
from fairlead.model.gateway.doors import NODE_LABEL, read_state
from fairlead.model.gateway.ingress import gateway_of
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, BoundSet
from fairlead.model.gateway.names import CONTROLLER, GATEWAY_LABEL, service_name
from fairlead.model.gateway.stage import GatewayStage
from fairlead.sources.errors import ApiError
from fairlead.sources.informer import Informer, key_of
from fairlead.sources.k8s_watch import follow_when_installed
from fairlead.sources.named import NamedObjects
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

Json = dict[str, Any]

_FOLLOWED: Mapping[str, Resource] = {
    **GATEWAY_KINDS,
    "Ingress": INGRESSES,
    "IngressClass": INGRESSCLASSES,
    "Namespace": NAMESPACES,
    "Service": SERVICES,
    "Secret": SECRETS,
}
_STATUSES = frozenset(("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"))
_EVERYTHING: Key = ("", "")
_LONGEST_S = 86_400.0
_TOGETHER_S = 0.02
"""How long a change waits for company."""


class GatewayController(Controller):
    """Makes Gateways reachable and says what became of them and of their routes."""

    name = "gateway-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._snapshot = Snapshot(settings=Settings(node=""))
        self._stage = GatewayStage()
        self._pending: list[Event] = []
        self._unwritten: set[tuple[str, Key]] = set()
        """Routes whose status may be another one than the API server holds."""
        self._unstated: set[tuple[str, Key]] = set()
        """The same of policies."""
        self._told: dict[tuple[str, Key], frozenset[str]] = {}
        """Ingress or Service → what was said of it by Events, as it has no conditions."""
        self._promised: set[int] = set()
        """Ports of nodes that a Gateway has got in this round, which the informer may not have seen yet."""
        self._given: frozenset[str] = frozenset()
        """Addresses that classes of Ingresses had."""
        self._informers = {kind: self.follow(resource) for kind, resource in _FOLLOWED.items()}
        for kind, informer in self._informers.items():
            self._listen(kind, informer)
        self._middlewares_known = asyncio.Event()
        self._bundles = NamedObjects(self.client, CONFIGMAPS, self._take_bundle, reduce=trust_material.reduced)
        self._definitions = NamedObjects(self.client, CRDS, self._take_definition, reduce=_version_alone)
        self._definitions.want(("", each) for each in versions.DEFINITIONS)
        self._versions: dict[str, str] = {}
        """Definition of the API → its version, empty for none."""
        self._nodes = self.follow(NODES, enqueue=self._wake)
        self._slices = self.follow(ENDPOINTSLICES, enqueue=self._wake_for_slice)

    async def run(self) -> None:
        """Reconcile forever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bundles.run())
            group.create_task(follow_when_installed(self.client, MIDDLEWARES, "Middleware", self._take_middlewares))
            # Before it is known which there are, Ingresses would be told that theirs are missing.
            await self._middlewares_known.wait()
            group.create_task(self._definitions.run())
            await self._definitions.wait_known()
            group.create_task(super().run())

    def _take_middlewares(self, event: Event) -> None:
        self._pending.append(event)
        self._middlewares_known.set()
        self.queue.add(_EVERYTHING)

    async def reconcile(self, key: Key) -> None:
        """Bring everything nearer to what it should be."""
        events, self._pending = self._pending, []
        before = self._snapshot
        self._snapshot = fold(before, events)
        self._bundles.want(trust.wanted(self._snapshot))
        touched = self._snapshot.services_changed_since(before.token)
        self._stage.update(self._snapshot, touched)
        self._unwritten |= self._stage.take_rebound()
        refused: list[ApiError] = []
        for gateway_class in list(self._informers["GatewayClass"].store.values()):
            await self._attempt(key, self._class_actions(gateway_class), refused)
        await self._attempt(key, list(self._leaving()), refused)
        self._promised = set()
        for gateway in self._stage.gateways.values():
            is_class = gateway.key in self._stage.ingresses.gateways
            actions = self._ingress_actions(gateway) if is_class else self._gateway_actions(gateway)
            await self._attempt(key, actions, refused)
        await self._attempt(key, self._events_of_ingresses(), refused)
        self._look_again()
        for route in sorted(self._unwritten):
            if route[0] not in _STATUSES or await self._attempt(key, self._route_actions(*route), refused):
                self._unwritten.discard(route)
        self._unstated |= self._stage.policies.take_restated()
        for policy in sorted(self._unstated):
            if await self._attempt(key, self._policy_actions(*policy), refused):
                self._unstated.discard(policy)
        if refused:
            raise refused[0]

    async def _attempt(self, key: Key, actions: Iterable[Action], refused: list[ApiError]) -> bool:
        """Perform actions; tell whether all went well, and note a refusal: what is refused to one must not keep others waiting."""
        try:
            await self.perform(key, actions)
        except ApiError as error:
            refused.append(error)
            return False
        return True

    def _look_again(self) -> None:
        """Wake when the next certificate becomes valid or expires, or a list of revoked ones is out of date."""
        moment = datetime.datetime.fromtimestamp(self.context.now(), datetime.UTC)
        certificates, known = self._snapshot.certificates, self._snapshot.trust_material
        times = {
            each
            for gateway in self._stage.gateways.values()
            for listener in gateway.listeners
            for each in (
                *status.certificate_times(listener, certificates),
                *status.revocation_times(self._stage.clients.of(listener).revocation, known),
            )
            if each > moment.isoformat()
        }
        if times:
            due = datetime.datetime.fromisoformat(min(times)) - moment
            self.queue.add_after(_EVERYTHING, min(due.total_seconds() + 1, _LONGEST_S))

    def _class_actions(self, obj: Json) -> Iterable[Action]:
        of_class = self._snapshot.gateway_classes.get(("", obj["metadata"]["name"]))
        if of_class is None or of_class.spec.controller_name != CONTROLLER:
            return
        wanted = {
            "conditions": self._timed(
                status.class_conditions(of_class, self._snapshot.gateway_parameters, self._versions), obj
            ),
            "supportedFeatures": [{"name": each} for each in status.FEATURES],
        }
        yield from _status(GATEWAYCLASSES, obj, wanted)
        name = obj["metadata"]["name"]
        used = any(each.spec.gateway_class_name == name for each in self._snapshot.gateways.values())
        yield from leaving.finalizer(obj, used)

    def _leaving(self) -> Iterable[Action]:
        stores = {kind: self._informers[kind].store for kind in ("Service", "Gateway", "ListenerSet", "Ingress")}
        now = moments.text(self.context.now())
        left = self._snapshot.gateways.keys() - self._stage.gateways.keys()
        yield from leaving.gateways(stores["Service"].values(), stores["Gateway"], left, now)
        yield from leaving.listener_sets(stores["ListenerSet"].values(), stores["Gateway"], now)
        before, self._given = self._given, leaving.addresses(stores["Service"].values())
        members = {each for some in self._stage.ingresses.members.values() for each in some}
        yield from leaving.ingresses(stores["Ingress"], members, before | self._given)

    def _gateway_actions(self, gateway: BoundGateway) -> Iterable[Action]:
        obj = self._informers["Gateway"].store.get(gateway.key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return
        present, problem, actions = self._door(gateway, obj, GATEWAYS)
        yield from actions
        serving = self._serving(gateway, present, problem)
        yield from _status(GATEWAYS, obj, self._gateway_status(gateway, obj, serving))
        for each in gateway.sets:
            yield from self._set_actions(each, gateway, serving)

    def _ingress_actions(self, gateway: BoundGateway) -> Iterable[Action]:
        """Return the actions for the Gateway that a class of Ingresses means; its Service is the class's."""
        name = gateway.key[1].removeprefix(gateway_of("")[1])
        obj = self._informers["IngressClass"].store.get(("", name))
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return
        present, problem, actions = self._door(gateway, obj, INGRESSCLASSES)
        yield from actions
        addresses = self._serving(gateway, present, problem).addresses
        for key in self._stage.ingresses.members.get(gateway.key, ()):
            ingress = self._informers["Ingress"].store.get(key)
            if ingress is not None:
                yield from _status(
                    INGRESSES, ingress, {"loadBalancer": {"ingress": [{"ip": each} for each in addresses]}}
                )

    def _events_of_ingresses(self) -> list[Action]:
        """Return Events about what cannot be honored of Ingresses and their Services, each once for as long as it holds."""
        wrong: dict[tuple[str, Key], set[str]] = {}
        for each in [*self._stage.ingress_diagnostics(), *self._certificates_of_ingresses()]:
            kind, namespace, name = each.object.split("/", 2)
            text = f"{each.field}: {each.message}" if each.field else each.message
            wrong.setdefault((kind, (namespace, name)), set()).add(f"{text}; {each.fix}" if each.fix else text)
        found: list[Action] = []
        for at in self._told.keys() | wrong.keys():
            known = self._told.pop(at, frozenset())
            obj = self._informers[at[0]].store.get(at[1])
            if obj is None or at not in wrong:
                continue
            self._told[at] = frozenset(wrong[at])
            found += [Told(obj, "Warning", "NotHonored", each, standing=True) for each in sorted(wrong[at] - known)]
        return found

    def _certificates_of_ingresses(self) -> Iterable[Diagnostic]:
        """Return which certificates of Ingresses are out of their time."""
        moment = datetime.datetime.fromtimestamp(self.context.now(), datetime.UTC).isoformat()

        def wrong(listener: BoundListener) -> str:
            found = status.certificate_conditions(listener, self._snapshot.certificates, moment)
            return found[0].message if found else ""

        return problems.of_ingress_certificates(self._stage.ingresses, self._stage.gateways, wrong)

    def _door(self, gateway: BoundGateway, obj: Json, resource: Resource) -> tuple[Json | None, str, list[Action]]:
        """Return the present Service of a Gateway, why it cannot have one, and what brings it nearer to what it should be."""
        at = (gateway.key[0], service_name(gateway.key[1]))
        present = self._informers["Service"].store.get(at)
        if present is not None and (present["metadata"].get("labels") or {}).get(GATEWAY_LABEL) != gateway.key[1]:
            return present, f"Service {'/'.join(at)} exists and is not this Gateway's", []
        if not any(each.usable for each in gateway.listeners) or status.unsupported_address(gateway):
            return present, "", []
        taken = services.node_ports(self._informers["Service"].store.values()) | self._promised
        try:
            external = self._stage.clients.external(gateway.key)
            http3 = {each.port for each in self._stage.clients.over_quic(gateway)}
            foreign = {port for port, holder in self._stage.holders.items() if holder != gateway.key}
            owner = reference_to(obj, resource)
            wanted = services.desired(gateway, present, taken, owner, external, http3, foreign=foreign)
        except ValueError as error:
            return present, str(error), []
        self._promised |= services.node_ports([wanted])
        if present is None:
            return None, "", [Create(SERVICES, wanted, owner=obj)]
        return present, "", [Patch(SERVICES, present, wanted)] if services.differs(present, wanted) else []

    def _gateway_status(self, gateway: BoundGateway, obj: Json, serving: status.Serving) -> Json:
        return {
            "addresses": [{"type": "IPAddress", "value": each} for each in serving.addresses],
            "conditions": self._timed(status.gateway_conditions(gateway, serving), obj),
            "listeners": self._listeners(gateway.own, gateway, obj, serving),
            "attachedListenerSets": sum(each.attached for each in gateway.sets),
        }

    def _set_actions(self, found: BoundSet, gateway: BoundGateway, serving: status.Serving) -> Iterable[Action]:
        obj = self._informers["ListenerSet"].store.get(found.key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return
        wanted = {
            "conditions": self._timed(status.set_conditions(found, gateway, serving), obj),
            "listeners": self._listeners(found.listeners, gateway, obj, serving),
        }
        yield from _status(LISTENERSETS, obj, wanted)

    def _listeners(
        self, listeners: Iterable[BoundListener], gateway: BoundGateway, obj: Json, serving: status.Serving
    ) -> list[Json]:
        """Return the status of the listeners that stand in an object."""
        generation = obj["metadata"].get("generation", 0)
        former = {each["name"]: each for each in (obj.get("status") or {}).get("listeners") or ()}
        now = moments.text(self.context.now())
        moment = datetime.datetime.fromtimestamp(self.context.now(), datetime.UTC).isoformat()
        found = []
        for listener in listeners:
            conditions = status.listener_conditions(listener, gateway, serving)
            conditions += status.certificate_conditions(listener, self._snapshot.certificates, moment)
            revoked = self._stage.clients.of(listener).revocation
            conditions += status.revocation_conditions(listener, revoked, self._snapshot.trust_material, moment)
            conditions += status.http3_conditions(listener, gateway, serving, self._stage.clients.http3(listener))
            known = former.get(listener.api.name, {}).get("conditions")
            found.append(
                status.listener_status(listener, self._stage.attached(listener))
                | {"conditions": status.with_times(conditions, known, generation, now)}
            )
        return found

    def _serving(self, gateway: BoundGateway, present: Json | None, problem: str) -> status.Serving:
        if problem or present is None:
            return status.Serving(problem=problem)
        ingress = (present.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
        reports = {
            each["metadata"]["labels"][NODE_LABEL]: read_state(each)
            for each in self._slices.store.values()
            if each["metadata"].get("namespace") == gateway.key[0]
            and NODE_LABEL in (labels := each["metadata"].get("labels") or {})
            and labels.get(GATEWAY_LABEL) == gateway.key[1]
        }
        ready = [name for (_, name), node in self._nodes.store.items() if conditions.is_true(node, "Ready")]
        return status.Serving(
            addresses=tuple(each["ip"] for each in ingress if each.get("ip")),
            lacking=lacking(present),
            nodes={name: reports.get(name) for name in ready},
        )

    def _route_actions(self, kind: str, key: Key) -> Iterable[Action]:
        obj = self._informers[kind].store.get(key)
        if obj is None:
            return
        bound = self._stage.described((kind, key))
        wanted = status.route_parents(bound, self._stage.affected) if bound is not None else []
        present = (obj.get("status") or {}).get("parents")
        now = moments.text(self.context.now())
        generation = obj["metadata"].get("generation", 0)
        parents = status.merged_parents(present, wanted, generation, now)
        if parents or present:
            yield from _status(_FOLLOWED[kind], obj, {"parents": parents})

    def _policy_actions(self, kind: str, key: Key) -> Iterable[Action]:
        obj = self._informers[kind].store.get(key)
        if obj is None:
            return
        wanted = status.policy_ancestors(self._stage.policies.state(kind, key))
        present = (obj.get("status") or {}).get("ancestors")
        now = moments.text(self.context.now())
        ancestors = status.merged_ancestors(present, wanted, obj["metadata"].get("generation", 0), now)
        if ancestors or present:
            yield from _status(_FOLLOWED[kind], obj, {"ancestors": ancestors})

    def _timed(self, wanted: Iterable[status.Condition], obj: Json) -> list[Json]:
        former = (obj.get("status") or {}).get("conditions")
        return status.with_times(wanted, former, obj["metadata"].get("generation", 0), moments.text(self.context.now()))

    def _listen(self, kind: str, informer: Informer) -> None:
        def changed(old: Json | None, new: Json | None) -> None:
            subject = new or old
            assert subject is not None
            key = key_of(subject)
            wire = certificate.reduced(new) if kind == "Secret" and new is not None else new
            self._pending.append(ObjectChanged(kind, key, decode(kind, wire) if wire is not None else None))
            if kind == "Secret":
                found = (
                    decode("Credentials", credentials.reduced(new)) if new and credentials.is_credentials(new) else None
                )
                self._pending.append(ObjectChanged("Credentials", key, found))
                authority = (
                    decode(client_authority.KIND, client_authority.reduced(new))
                    if new and client_authority.is_authority(new)
                    else None
                )
                self._pending.append(ObjectChanged(client_authority.KIND, key, authority))
            self._wake(subject)

        informer.on_change(changed)

    def _take_bundle(self, key: Key, obj: Json | None) -> None:
        self._pending.append(ObjectChanged("ConfigMap", key, decode("ConfigMap", obj) if obj is not None else None))
        self.queue.add_after(_EVERYTHING, _TOGETHER_S)

    def _take_definition(self, key: Key, obj: Json | None) -> None:
        self._versions.pop(key[1], None)
        if obj is not None:
            self._versions[key[1]] = (obj["metadata"].get("annotations") or {}).get(versions.ANNOTATION, "")
        self.queue.add_after(_EVERYTHING, _TOGETHER_S)

    def _wake(self, _obj: Json) -> None:
        self.queue.add_after(_EVERYTHING, _TOGETHER_S)

    def _wake_for_slice(self, obj: Json) -> None:
        if NODE_LABEL in (obj["metadata"].get("labels") or {}):
            self._wake(obj)


def _version_alone(definition: Json) -> Json:
    """Return a definition without its schemas, which are megabytes."""
    return {"metadata": definition["metadata"]}


def _status(resource: Resource, obj: Json, wanted: Json) -> Iterable[Action]:
    if (obj.get("status") or {}) != {**(obj.get("status") or {}), **wanted}:
        yield Status(resource, {**obj, "status": {**(obj.get("status") or {}), **wanted}})
