"""Ingresses as the objects of the Gateway API that serve the same: what the controller reads of them, made valid for the API. Pure.

The same code reads them (`IngressReader`); here is only what differs between what it means inside and what may be written: names of objects,
numbers of ports, references across namespaces, at most 16 rules and hosts for each route, and RouteExtensions for what HTTPRoute has no field for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.api.decode import reference
from fairlead.api.gateway import GROUP, Gateway, RouteMeta
from fairlead.api.httproute import HTTPRoute, HTTPRule, MirrorFilter
from fairlead.api.ingress import LEGACY_CLASS, Ingress, IngressClass, IngressClassSpec
from fairlead.api.l4route import TLSRoute
from fairlead.api.policytarget import PolicyTargetRef
from fairlead.api.securitypolicy import SecurityPolicy
from fairlead.api.service import Service, ServicePort
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway.conversion_doors import API, Doors, Json, head, host_name
from fairlead.model.gateway.extended import (
    HostedMirror,
    KnownClientRule,
    NamedPortRef,
    PatternModifier,
    RankedRule,
    StreamTimeouts,
    UnsentOrRepeatable,
)
from fairlead.model.gateway.ingress import IngressReader, gateway_of
from fairlead.model.gateway.ingress_classes import CONTROLLER, DIALECT, OurClass, dialect_of_controller, our_classes
from fairlead.model.gateway.ingress_policies import IngressPolicy
from fairlead.model.gateway.ingress_references import NOTHING, Referred
from fairlead.model.gateway.ingress_routes import HTTPS
from fairlead.model.gateway.merging import MOST_LISTENERS
from fairlead.model.gateway.names import CONTROLLER as GATEWAY_CONTROLLER
from fairlead.model.gateway.names import PART
from fairlead.world.events import ObjectKey

_OWN = "fairlead.dev/v1alpha1"
_MOST_RULES = _MOST_HOSTS = 16
_MOST_TARGETS = 16
_LONGEST_NAME = 253
_NO_CLASS = "ingress"
"""Of Ingresses that name none."""
_APP_PROTOCOLS = {"h2c": "kubernetes.io/h2c"}


class Conversion(msgspec.Struct, frozen=True):
    """What became of some Ingresses."""

    objects: tuple[Json, ...]
    """In an order in which they may be applied."""
    notes: tuple[Diagnostic, ...]
    """What was assumed, or has no effect here; nothing of it changes what is served."""
    problems: tuple[Diagnostic, ...]
    """What has no equivalent; what it concerns is refused where it can be, never left open."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may choose."""

    gateway: ObjectKey | None = None
    """Of the only class; None: named like its class."""
    gateway_class: str = "fairlead"


def convert(
    classes: Mapping[ObjectKey, IngressClass],
    ingresses: Mapping[ObjectKey, Ingress],
    services: Mapping[ObjectKey, Service],
    options: Options,
    referred: Referred = NOTHING,
) -> Conversion:
    """Return the objects that serve what some Ingresses do; `referred` is what these may name. Raises ValueError when the options do not fit them."""
    work = _Work(services, options)
    known = work.classes(classes, ingresses)
    reader = IngressReader()
    reader.update(known, work.of_classes(ingresses, known), services, referred)
    return work.convert(reader, our_classes(known))


class _Work:
    def __init__(self, services: Mapping[ObjectKey, Service], options: Options) -> None:
        self._services = services
        self._options = options
        self._notes: list[Diagnostic] = []
        self._problems: list[Diagnostic] = []
        self._names: dict[tuple[str, str], set[str]] = {}
        self._extensions: dict[ObjectKey, dict[bytes, Json]] = {}
        self._written: dict[ObjectKey, list[tuple[str, str]]] = {}
        """Route of an Ingress → kinds and names of the routes that it became."""

    def classes(
        self, classes: Mapping[ObjectKey, IngressClass], ingresses: Mapping[ObjectKey, Ingress]
    ) -> dict[ObjectKey, IngressClass]:
        """Return all classes that Ingresses name, as classes of ours."""
        found = {key: self._ours(key, each) for key, each in classes.items()}
        for key, ingress in ingresses.items():
            name = _class_of(ingress)
            if name and ("", name) not in found:
                message = f"IngressClass {name} is not in the input: taken for one of Fairlead's"
                self._notes.append(
                    Diagnostic(object=reference("Ingress", *key), field="spec.ingressClassName", message=message)
                )
                found["", name] = _class(name)
        return found

    def _ours(self, key: ObjectKey, each: IngressClass) -> IngressClass:
        dialect = dialect_of_controller(each.spec.controller)
        if each.spec.controller != CONTROLLER and not dialect:
            message = f"{each.spec.controller} is not known: its annotations mean nothing here"
            self._notes.append(
                Diagnostic(object=reference("IngressClass", *key), field="spec.controller", message=message)
            )
        annotations = {DIALECT: dialect} if dialect else {}
        metadata = msgspec.structs.replace(
            each.metadata, annotations={**annotations, **(each.metadata.annotations or {})}
        )
        return IngressClass(metadata=metadata, spec=IngressClassSpec(controller=CONTROLLER))

    def of_classes(
        self, ingresses: Mapping[ObjectKey, Ingress], classes: dict[ObjectKey, IngressClass]
    ) -> dict[ObjectKey, Ingress]:
        """Return the Ingresses, each of some class."""
        has_default = any(each.is_default for each in our_classes(classes).values())
        found = {}
        for key, ingress in ingresses.items():
            if not _class_of(ingress) and not has_default:
                message = f"names no class, and no class is the default: taken for one of class {_NO_CLASS}"
                self._notes.append(
                    Diagnostic(object=reference("Ingress", *key), field="spec.ingressClassName", message=message)
                )
                classes.setdefault(("", _NO_CLASS), _class(_NO_CLASS))
                spec = msgspec.structs.replace(ingress.spec, ingress_class_name=_NO_CLASS)
                ingress = msgspec.structs.replace(ingress, spec=spec)
            found[key] = ingress
        return found

    def convert(self, reader: IngressReader, ours: Mapping[str, OurClass]) -> Conversion:
        used = {gateway_of(name): name for name in ours if gateway_of(name) in reader.gateways}
        if self._options.gateway is not None and len(used) > 1:
            raise ValueError(f"the Ingresses are of several classes: {', '.join(sorted(used.values()))}")
        self._remark(reader)
        gateways: list[Json] = []
        clients: list[Json] = []
        routes: list[Json] = []
        for at, name in sorted(used.items()):
            members = reader.members[at]
            for guard in reader.guards[at].values():
                self._tell_of_clients(guard.owner)
            key = self._options.gateway or (_home(members), name)
            doors = self._doors(key, reader.gateways[at])
            made = list(doors.objects(self._options.gateway_class, sorted({namespace for namespace, _ in members})))
            gateways += made
            if ours[name].http3:
                targets = [{"group": GROUP, "kind": each["kind"], "name": each["metadata"]["name"]} for each in made]
                clients += self._attached("ClientTrafficPolicy", key, targets, {"http3": {}})
            routes += self._routes(reader, sorted(members, key=lambda each: _age(reader.ingress(each))), doors)
        policies = [each for kind, found in reader.policies.items() for each in self._policies(kind, found)]
        extensions = [each for found in self._extensions.values() for each in found.values()]
        own_class = {
            "apiVersion": API,
            "kind": "GatewayClass",
            "metadata": {"name": self._options.gateway_class},
            "spec": {"controllerName": GATEWAY_CONTROLLER},
        }
        objects = [own_class, *gateways, *clients, *extensions, *routes, *policies] if gateways else []
        return Conversion(tuple(objects), tuple(sorted(set(self._notes))), tuple(sorted(set(self._problems))))

    def _remark(self, reader: IngressReader) -> None:
        """Take over what cannot be honored of annotations."""
        for key, remarks in reader.remarks.items():
            refused = reader.refused(key)
            for each in remarks:
                is_note = each.field.startswith("metadata.annotations[") and not any(
                    name in each.field for name in refused
                )
                (self._notes if is_note else self._problems).append(each)

    def _doors(self, key: ObjectKey, gateway: Gateway) -> Doors:
        listeners = gateway.spec.listeners
        if len(listeners) > MOST_LISTENERS:
            message = (
                f"{len(listeners)} listeners, one for each host with a certificate; "
                f"a Gateway with its ListenerSets has {MOST_LISTENERS} at most"
            )
            fix = "use certificates for wildcards, or several classes"
            self._problems.append(
                Diagnostic(object=reference("Gateway", *key), field="spec.listeners", message=message, fix=fix)
            )
        return Doors(key, listeners[:MOST_LISTENERS], self._name)

    def _routes(self, reader: IngressReader, members: Iterable[ObjectKey], doors: Doors) -> Iterator[Json]:
        taken: dict[tuple[str, int, bytes], ObjectKey] = {}
        for key in members:
            groups: dict[bytes, tuple[list[str], list[Json], list[HTTPRule], list[str]]] = {}
            for (_, name), route in reader.routes_of(key).items():
                if isinstance(route, TLSRoute):
                    yield from self._tls_route(key, name, route, doors)
                    continue
                rules = self._free(key, route, taken)
                if not rules:
                    continue
                (parent,) = route.spec.parent_refs or ()
                parents = doors.parents(key[0], route.spec.hostnames, parent.port)
                alike = msgspec.json.encode((parents, rules))
                names, _, _, hosts = groups.setdefault(alike, ([], parents, rules, []))
                names.append(name)
                hosts += route.spec.hostnames or ()
                if not route.spec.hostnames:
                    # Without hosts it is for all: others cannot stand beside that.
                    groups[alike + name.encode()] = groups.pop(alike)
            alone = len({names[0].split(PART)[1] for names, *_ in groups.values()}) == 1
            for names, parents, rules, hosts in groups.values():
                written = list(self._route(key, _route_name(names[0], alone=alone), parents, rules, hosts))
                for name in names:
                    self._written[key[0], name] = [(each["kind"], each["metadata"]["name"]) for each in written]
                yield from written

    def _free(self, key: ObjectKey, route: HTTPRoute, taken: dict[tuple[str, int, bytes], ObjectKey]) -> list[HTTPRule]:
        """Return the rules of a route whose matches no older Ingress has: new objects would be of the same age."""
        ports = [each.port for each in route.spec.parent_refs or ()]
        found = []
        for rule in route.spec.rules or ():
            host = next(iter(route.spec.hostnames or ()), "")
            match = msgspec.json.encode(rule.matches)
            wanted = [(host, port, match) for port in (80, 443) if ports in ([None], [port])]
            if all(each in taken for each in wanted):
                for owner in {taken[each] for each in wanted} - {key}:
                    message = (
                        f"{host or 'all hosts'}: Ingress {'/'.join(owner)} is older and has the same path, which counts"
                    )
                    self._notes.append(
                        Diagnostic(object=reference("Ingress", *key), field="spec.rules", message=message)
                    )
                continue
            for each in wanted:
                taken.setdefault(each, key)
            found.append(rule)
        return found

    def _route(
        self, key: ObjectKey, name: str, parents: list[Json], rules: list[HTTPRule], hosts: list[str]
    ) -> Iterator[Json]:
        written = [self._rule(key, rule) for rule in rules]
        for first_host in range(0, max(len(hosts), 1), _MOST_HOSTS):
            for first in range(0, len(written), _MOST_RULES):
                spec: Json = {"parentRefs": parents}
                if hosts:
                    spec["hostnames"] = hosts[first_host : first_host + _MOST_HOSTS]
                spec["rules"] = written[first : first + _MOST_RULES]
                yield {**head("HTTPRoute", (key[0], self._name(key[0], "HTTPRoute", name))), "spec": spec}

    def _tls_route(self, key: ObjectKey, name: str, route: TLSRoute, doors: Doors) -> Iterator[Json]:
        """Yield the route; where it would have no backend its listener alone closes the connections."""
        hosts = route.spec.hostnames or ()
        refs = [
            ref
            for rule in route.spec.rules or ()
            for each in rule.backend_refs or ()
            if isinstance(each, NamedPortRef) and (ref := self._backend(key, each, weighted=False)) is not None
        ]
        if not refs:
            return
        written = self._name(key[0], "TLSRoute", _route_name(name, alone=False))
        self._written[key[0], name] = [("TLSRoute", written)]
        spec: Json = {"parentRefs": doors.parents(key[0], hosts, HTTPS), "hostnames": list(hosts)}
        yield {**head("TLSRoute", (key[0], written)), "spec": {**spec, "rules": [{"backendRefs": refs}]}}

    def _rule(self, key: ObjectKey, rule: HTTPRule) -> Json:
        if isinstance(rule, KnownClientRule):
            self._tell_of_clients(key)
            return {"matches": [_plain(each) for each in rule.matches or ()]}
        if isinstance(rule, RankedRule):
            message = "router.priority: rules of HTTPRoutes go by how exact they are, not by priority; see whether their order is the same"
            self._problems.append(
                Diagnostic(object=reference("Ingress", *key), field="metadata.annotations", message=message)
            )
        filters, rewrite = [], None
        for each in rule.filters or ():
            path = each.url_rewrite.path if each.url_rewrite is not None else None
            if each.url_rewrite is not None and isinstance(path, PatternModifier):
                rewrite = path
                if not each.url_rewrite.hostname:
                    continue
                each = msgspec.structs.replace(each, url_rewrite=msgspec.structs.replace(each.url_rewrite, path=None))
            if isinstance(each.request_mirror, HostedMirror):
                message = (
                    "mirror-host: an HTTPRoute does not say which Host a copy of a request has: it has the request's"
                )
                field = "metadata.annotations"
                self._problems.append(Diagnostic(object=reference("Ingress", *key), field=field, message=message))
                each = msgspec.structs.replace(
                    each, request_mirror=MirrorFilter(backend_ref=each.request_mirror.backend_ref)
                )
            filters.append(_brief(each))
        extension = self._extension(key, rule, rewrite)
        if extension is not None:
            filters.append({"type": "ExtensionRef", "extensionRef": extension})
        found: Json = {"matches": [_plain(each) for each in rule.matches or ()]}
        if filters:
            found["filters"] = filters
        if rule.session_persistence is not None:
            found["sessionPersistence"] = _plain(rule.session_persistence)
        refs = [each for each in rule.backend_refs or () if isinstance(each, NamedPortRef)]
        backends = [ref for each in refs if (ref := self._backend(key, each, weighted=len(refs) > 1)) is not None]
        if backends:
            found["backendRefs"] = backends
        return found

    def _tell_of_clients(self, key: ObjectKey) -> None:
        message = "clients' certificates are wanted for one host: a Gateway wants them for a whole port, so what it became answers 500"
        fix = "make a Gateway of its own for the host, with spec.tls.frontend"
        self._problems.append(
            Diagnostic(object=reference("Ingress", *key), field="metadata.annotations", message=message, fix=fix)
        )

    def _extension(self, key: ObjectKey, rule: HTTPRule, rewrite: PatternModifier | None) -> Json | None:
        spec: Json = {}
        if rewrite is not None:
            spec["rewritePath"] = {"pattern": rewrite.pattern, "substitution": rewrite.substitution}
        if isinstance(rule.timeouts, StreamTimeouts) and rule.timeouts.idle is not None:
            spec["idleTimeout"] = rule.timeouts.idle
        if rule.retry is not None:
            spec["retry"] = {"attempts": rule.retry.attempts, "codes": list(rule.retry.codes or ())}
            if isinstance(rule.retry, UnsentOrRepeatable):
                spec["retry"]["idempotentOnly"] = True
        if not spec:
            return None
        known = self._extensions.setdefault(key, {})
        alike = msgspec.json.encode(spec)
        if alike not in known:
            name = self._name(key[0], "RouteExtension", key[1])
            known[alike] = {**head("RouteExtension", (key[0], name), _OWN), "spec": spec}
        return {"group": "fairlead.dev", "kind": "RouteExtension", "name": known[alike]["metadata"]["name"]}

    def _backend(self, key: ObjectKey, ref: NamedPortRef, *, weighted: bool) -> Json | None:
        where = f"Service {key[0]}/{ref.name}"
        service = self._services.get((key[0], ref.name))
        port = _port(service, ref)
        number = ref.port if ref.port is not None else port.port if port is not None else None
        if number is None:
            missing = f"{where} is not in the input" if service is None else f"{where} has no port {ref.port_name}"
            message = f"port {ref.port_name}: {missing}: the rule answers 500"
            self._problems.append(
                Diagnostic(
                    object=reference("Ingress", *key),
                    field="spec.rules",
                    message=message,
                    fix="add the Service to the input",
                )
            )
            return None
        wanted = _APP_PROTOCOLS.get(ref.protocol)
        if wanted is not None and (port is None or port.app_protocol != wanted):
            message = (
                f"port {number} of {where} needs appProtocol: {wanted}, as routes do not say how backends are spoken to"
            )
            self._problems.append(
                Diagnostic(object=reference("Ingress", *key), field="metadata.annotations", message=message)
            )
        if ref.encrypted:
            message = f"{where} needs a BackendTLSPolicy, as routes do not say that backends are spoken to by TLS"
            self._problems.append(
                Diagnostic(object=reference("Ingress", *key), field="metadata.annotations", message=message)
            )
        return {"name": ref.name, "port": number, **({"weight": ref.weight} if weighted else {})}

    def _policies(self, kind: str, found: Mapping[ObjectKey, IngressPolicy]) -> Iterator[Json]:
        taken: set[tuple[str, str]] = set()
        for (namespace, name), policy in sorted(found.items()):
            ingress = name.partition(PART)[0]
            # Of several policies for one Service the first by name applies, as it does for Ingresses.
            targets = [
                target
                for each in policy.spec.target_refs
                if (namespace, each.name) not in taken
                for target in self._targets(namespace, each)
            ]
            taken |= {(namespace, each.name) for each in policy.spec.target_refs}
            spec = _brief(msgspec.structs.replace(policy.spec, target_refs=()))
            if isinstance(policy, SecurityPolicy) and policy.spec.basic_auth is not None:
                users = policy.spec.basic_auth.users.name
                message = f"Secret {namespace}/{users} needs the label fairlead.dev/credentials, and passwords as SHA-1 (htpasswd -s)"
                self._notes.append(Diagnostic(object=reference("Ingress", namespace, ingress), message=message))
            yield from self._attached(kind, (namespace, ingress), targets, spec)

    def _attached(self, kind: str, key: ObjectKey, targets: Sequence[Json], spec: Json) -> Iterator[Json]:
        """Yield a policy as often as it takes to attach it to all of some targets, by names that begin with that of `key`."""
        for at in range(0, len(targets), _MOST_TARGETS):
            made = head(kind, (key[0], self._name(key[0], kind, key[1])), _OWN)
            yield {**made, "spec": {"targetRefs": targets[at : at + _MOST_TARGETS], **spec}}

    def _targets(self, namespace: str, ref: PolicyTargetRef) -> list[Json]:
        """Return what a policy of an Ingress is attached to: a Service, or what a route of it became."""
        if ref.kind != "Ingress":
            return [{"group": ref.group, "kind": ref.kind, "name": ref.name}]
        written = self._written.get((namespace, ref.name), ())
        return [{"group": GROUP, "kind": kind, "name": name} for kind, name in written]

    def _name(self, namespace: str, kind: str, wanted: str) -> str:
        """Return a name that no other object of its kind has."""
        taken = self._names.setdefault((namespace, kind), set())
        if len(wanted) > _LONGEST_NAME - 4:
            wanted = f"{wanted[: _LONGEST_NAME - 21]}-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
        name = wanted
        number = 1
        while name in taken:
            number += 1
            name = f"{wanted}-{number:02}"
        taken.add(name)
        return name


def _class(name: str) -> IngressClass:
    return IngressClass(metadata=RouteMeta(name=name), spec=IngressClassSpec(controller=CONTROLLER))


def _class_of(ingress: Ingress) -> str:
    return ingress.spec.ingress_class_name or (ingress.metadata.annotations or {}).get(LEGACY_CLASS, "")


def _age(ingress: Ingress) -> tuple[str, str, str]:
    metadata = ingress.metadata
    return metadata.creation_timestamp or "9999", metadata.namespace, metadata.name


def _home(members: Iterable[ObjectKey]) -> str:
    """Return the namespace of a class's Gateway: its Ingresses', where that is one."""
    namespaces = {namespace for namespace, _ in members}
    return namespaces.pop() if len(namespaces) == 1 else "default"


def _route_name(name: str, *, alone: bool) -> str:
    """Return the name of an object for `NAME~HOST` or `NAME~HOST~http`; `alone`: no other host needs one."""
    first, host, *rest = name.split(PART)
    middle = () if alone else ("all-hosts" if host == "*" else host_name(host),)
    return "-".join((first, *middle, *rest))


def _port(service: Service | None, ref: NamedPortRef) -> ServicePort | None:
    ports = (service.spec.ports or ()) if service is not None else ()
    return next(
        (each for each in ports if each.port == ref.port or (ref.port is None and each.name == ref.port_name)), None
    )


def _plain(value: Any) -> Any:
    """Return a struct as plain data without what is not set."""
    return _set(msgspec.to_builtins(value))


def _brief(value: Any) -> Any:
    """Return a struct as plain data without what is as the definition of its kind has it anyway."""
    if isinstance(value, msgspec.Struct):
        fields = [(each, getattr(value, each.name)) for each in msgspec.structs.fields(value)]
        return {each.encode_name: _brief(found) for each, found in fields if found != each.default}
    return [_brief(each) for each in value] if isinstance(value, tuple) else value


def _set(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _set(each) for key, each in data.items() if each is not None}
    if isinstance(data, list | tuple):
        return [_set(each) for each in data]
    return data
