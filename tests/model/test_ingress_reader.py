"""What is remembered of Ingresses from one snapshot to the next equals what a reader without a past finds, and costs no look at the others."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fairlead.api.decode import decode
from fairlead.api.ingress import Ingress
from fairlead.model.gateway.ingress import IngressReader
from fairlead.model.gateway.ingress_classes import CONTROLLER
from fairlead.model.gateway.ingress_references import NOTHING
from fairlead.world.events import Event, ObjectChanged, ObjectKey
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

NONE: frozenset[ObjectKey] = frozenset()
NGINX = "nginx.ingress.kubernetes.io"
ANNOTATIONS: tuple[dict[str, str], ...] = (
    {},
    {},
    {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": "30"},
    {f"{NGINX}/use-regex": "true"},
    {f"{NGINX}/server-alias": "b.x"},
    {f"{NGINX}/auth-url": "x"},
    {f"{NGINX}/whitelist-source-range": "10.0.0.0/8"},
    {f"{NGINX}/proxy-body-size": "1m"},
    {f"{NGINX}/ssl-passthrough": "true"},
    {f"{NGINX}/auth-tls-secret": "default/ca"},
    {
        f"{NGINX}/auth-tls-secret": "default/ca",
        f"{NGINX}/auth-tls-verify-client": "optional",
        f"{NGINX}/server-alias": "b.x",
    },
)


def _class(**annotations: str) -> Event:
    metadata = {"name": "in", "annotations": {f"fairlead.dev/{name}": value for name, value in annotations.items()}}
    obj: dict[str, Any] = {"metadata": metadata, "spec": {"controller": CONTROLLER}}
    return ObjectChanged("IngressClass", ("", "in"), decode("IngressClass", obj))


def _ingress(name: str, host: str, path: str = "/", **more: Any) -> Event:
    service = {"name": "app", "port": {"number": 80}}
    paths = [{"path": path, "pathType": "Prefix", "backend": {"service": service}}]
    spec = {"ingressClassName": more.get("of", "in"), "rules": [{"host": host, "http": {"paths": paths}}]}
    if tls := more.get("tls"):
        spec["tls"] = [{"hosts": [tls], "secretName": "s"}]
    namespace = more.get("namespace", "default")
    metadata = {"name": name, "namespace": namespace, "annotations": more.get("annotations", {})}
    return ObjectChanged("Ingress", (namespace, name), decode("Ingress", {"metadata": metadata, "spec": spec}))


def _random_event(rng: random.Random) -> Event:
    name, namespace = f"i{rng.randrange(5)}", rng.choice(("default", "default", "other"))
    match rng.randrange(12):
        case 0:
            return _class(**{"ingress-dialect": rng.choice(("nginx", "haproxy"))})
        case 1 | 2:
            return ObjectChanged("Ingress", (namespace, name), None)
        case _:
            host, path = rng.choice(("a.x", "a.x", "*.x", "b.x")), rng.choice(("/", "/p"))
            tls, of = rng.choice(("", "a.x", "*.x")), rng.choice(("in", "in", "in", "other"))
            more = {"tls": tls, "of": of, "namespace": namespace, "annotations": rng.choice(ANNOTATIONS)}
            return _ingress(name, host, path, **more)


def _concerned(snapshot: Snapshot, before: Snapshot) -> set[ObjectKey]:
    found = snapshot.routes_changed_since(before.token)
    assert found is not None
    return {key for kind, key in found if kind == "Ingress"}


@pytest.mark.parametrize("seed", range(8))
def test_what_is_remembered_equals_what_is_read_anew(seed: int) -> None:
    rng = random.Random(seed)
    kept, snapshot = IngressReader(), fold(Snapshot(settings=Settings(node="n1")), [_class()])
    kept.update(snapshot.ingress_classes, snapshot.ingresses, {}, NOTHING)
    for _ in range(60):
        before, routes = snapshot, kept.routes
        snapshot = fold(snapshot, [_random_event(rng) for _ in range(rng.randrange(1, 3))])
        changed = kept.update(
            snapshot.ingress_classes, snapshot.ingresses, {}, NOTHING, None, _concerned(snapshot, before)
        )
        scratch = IngressReader()
        scratch.update(snapshot.ingress_classes, snapshot.ingresses, {}, NOTHING)

        for what in ("gateways", "routes", "members", "policies", "remarks", "over_quic", "guards"):
            assert getattr(kept, what) == getattr(scratch, what), what
        others = {key for key in routes.keys() | kept.routes.keys() if routes.get(key) is not kept.routes.get(key)}
        assert others <= changed


class _Many(dict[ObjectKey, Ingress]):
    """Ingresses that may be asked for by name alone."""

    def __iter__(self) -> Any:
        raise AssertionError("all Ingresses were looked at")

    keys = items = values = __iter__  # type: ignore[assignment]


def test_a_changed_ingress_costs_no_look_at_the_others() -> None:
    many = [_ingress(f"i{number}", f"h{number}.x") for number in range(10)]
    first = fold(Snapshot(settings=Settings(node="n1")), [_class(), *many])
    reader = IngressReader()
    reader.update(first.ingress_classes, first.ingresses, {}, NOTHING)

    second = fold(first, [_ingress("i3", "h3.x", "/p"), _ingress("i10", "h10.x")])
    changed = reader.update(
        second.ingress_classes, _Many(second.ingresses), {}, NOTHING, NONE, _concerned(second, first)
    )
    assert changed == {("default", "i3~h3.x"), ("default", "i10~h10.x")}

    third = fold(second, [ObjectChanged("Ingress", ("default", "i3"), None)])
    changed = reader.update(third.ingress_classes, _Many(third.ingresses), {}, NOTHING, NONE, _concerned(third, second))
    assert changed == {("default", "i3~h3.x")}
    assert ("default", "i3") not in reader.members["kube-system", "ingress-in"]


@pytest.mark.parametrize("wish", ["auth-tls-secret", "ssl-passthrough"])
def test_what_holds_for_a_whole_host_is_not_for_other_namespaces_than_its_oldest_ingress_to_say(wish: str) -> None:
    passes = wish == "ssl-passthrough"
    wished = {f"{NGINX}/{wish}": "true" if passes else "z/ca"}
    theirs = _ingress("theirs", "a.x", "/", namespace="z", tls="" if passes else "a.x", annotations=wished)
    snapshot = fold(Snapshot(settings=Settings(node="n1")), [_class(), _ingress("ours", "a.x"), theirs])
    reader = IngressReader()

    def said() -> tuple[set[str], bool]:
        reader.update(snapshot.ingress_classes, snapshot.ingresses, {}, NOTHING)
        (guards,) = reader.guards.values()
        return set(guards), any(name.endswith("~tls") for _, name in reader.routes)

    assert said() == (set(), False)
    assert any("an older Ingress" in each.message for each in reader.remarks["z", "theirs"])
    snapshot = fold(snapshot, [ObjectChanged("Ingress", ("default", "ours"), None)])
    assert said() == ((set(), True) if passes else ({"a.x"}, False))
    snapshot = fold(snapshot, [_ingress("ours", "a.x")])
    assert said() == (set(), False)


@pytest.mark.parametrize("certified", ["a.x", "*.x", ""], ids=["the host", "a wildcard", "all hosts"])
def test_a_certificate_of_another_namespace_changes_nothing_for_a_host(certified: str) -> None:
    rules = [_ingress("ours", "a.x"), _ingress("all", certified)] if certified else [_ingress("ours", "a.x")]
    theirs = _ingress("theirs", "b.x", namespace="z", tls=certified)
    if not certified:
        spec = {"ingressClassName": "in", "tls": [{"secretName": "s"}], "rules": [{"host": "b.x"}]}
        theirs = ObjectChanged(
            "Ingress",
            ("z", "theirs"),
            decode("Ingress", {"metadata": {"name": "theirs", "namespace": "z"}, "spec": spec}),
        )
    snapshot = fold(Snapshot(settings=Settings(node="n1")), [_class(), *rules])
    reader = IngressReader()

    def said() -> tuple[object, set[str | None]]:
        reader.update(snapshot.ingress_classes, snapshot.ingresses, {}, NOTHING)
        ours = {key: route for key, route in reader.routes.items() if key[0] == "default"}
        return ours, {each.hostname for each in next(iter(reader.gateways.values())).spec.listeners if each.port == 443}

    before, _ = said()
    snapshot = fold(snapshot, [theirs])
    after, hosts = said()
    assert after == before
    if certified:
        assert not hosts
        assert "this certificate is not used" in str(reader.remarks["z", "theirs"])
        snapshot = fold(snapshot, [ObjectChanged("Ingress", ("default", each), None) for each in ("ours", "all")])
        assert said()[1] == {certified}
        assert ("z", "theirs") not in reader.remarks


def test_the_certificate_of_the_namespace_that_has_a_host_counts_whoever_is_older() -> None:
    ours, theirs = _ingress("ours", "a.x", tls="a.x"), _ingress("theirs", "a.x", "/p", namespace="z", tls="a.x")
    snapshot = fold(Snapshot(settings=Settings(node="n1")), [_class(), theirs])
    reader = IngressReader()

    def secrets() -> list[str | None]:
        reader.update(snapshot.ingress_classes, snapshot.ingresses, {}, NOTHING)
        (gateway,) = reader.gateways.values()
        return [ref.namespace for each in gateway.spec.listeners if each.tls for ref in each.tls.certificate_refs]

    assert secrets() == ["z"]
    snapshot = fold(snapshot, [ours])
    assert secrets() == ["default"]
    assert ("default", "theirs~a.x") not in reader.routes and ("z", "theirs~a.x") in reader.routes
    snapshot = fold(snapshot, [_ingress("ours", "c.x")])
    assert secrets() == ["z"]
