"""What `fairlead convert ingress` prints serves what the Ingresses serve: the same requests to both, through the real Envoy."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from tests.drivers.xds.gatewaylab import GatewayLab, Json
from tests.drivers.xds.ingresslab import ingress, klass, opened, said, text
from tests.drivers.xds.test_ingress_annotations import CASES
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.api.crds import FOLDER
from fairlead.apiserver.schema.resource import ResourceSchema
from fairlead.model.gateway.conversion import Options, convert
from fairlead.model.gateway.ingress import gateway_of
from fairlead.model.gateway.ingress_references import Referred
from fairlead.world.fold import fold

pytestmark = pytest.mark.asyncio(loop_scope="module")
NGINX = klass("nginx")


@pytest.fixture(scope="module")
def schemas() -> Mapping[str, ResourceSchema]:
    found = {}
    for path in FOLDER.glob("*.yaml"):
        spec = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        version = next(each for each in spec["versions"] if each["storage"])
        found[spec["names"]["kind"]] = ResourceSchema(version["schema"]["openAPIV3Schema"])
    return found


async def both(
    lab: GatewayLab,
    schemas: Mapping[str, ResourceSchema],
    objects: list[Json],
    asks: list[tuple[str, Json]],
    of: Json = NGINX,
) -> list[tuple[str, str]]:
    """Ask an Ingress and what it is converted to the same; return what each says."""
    own = gateway_of(of["metadata"]["name"])
    lab.door(*own, 80, 443)
    await lab.apply(text(of, *objects))
    snapshot = lab.snapshot
    wanted = {each["metadata"]["name"] for each in objects if each["kind"] == "Ingress"}
    ingresses = {key: each for key, each in snapshot.ingresses.items() if key[1] in wanted}
    referred = Referred(snapshot.trust_material, snapshot.reference_grants, snapshot.middlewares)
    made = convert(snapshot.ingress_classes, ingresses, snapshot.services, Options(), referred)
    for each in made.objects:
        schema = schemas[each["kind"]]
        assert schema.unknown_fields(each) == [], each
        whole = copy.deepcopy(each)
        schema.default(whole)
        assert [str(error) for error in schema.check(whole)] == [], each
    await lab.apply(text(*made.objects))
    await opened(lab, of["metadata"]["name"])
    found = []
    for url, more in asks:
        answers = [await lab.ask(url, gateway=gateway, **more) for gateway in (own[1], of["metadata"]["name"])]
        found.append((said(answers[0]), said(answers[1])))
    for each in made.objects:
        if each["kind"] not in ("Gateway", "GatewayClass"):
            await lab.delete(each["kind"], each["metadata"]["name"], each["metadata"]["namespace"])
    for name in wanted:
        await lab.delete("Ingress", name)
    return found


async def test_every_case_of_paths_and_redirects(lab: GatewayLab, schemas: Mapping[str, ResourceSchema]) -> None:
    for case, (paths, wishes, wanted) in CASES.items():
        kind = "ImplementationSpecific" if any("(" in each or "|" in each for each in paths) else "Prefix"
        obj = ingress("case", paths, wishes, kind=kind)
        answers = await both(lab, schemas, [obj], [(f"http://case.test{path}", {}) for path in wanted])
        said = [answer.replace("HOST", "case.test") for answer in wanted.values()]
        assert answers == [(each, each) for each in said], case


def cases() -> dict[str, tuple[list[Json], list[tuple[str, Json]], list[str]]]:
    """Name → objects, requests, what each is answered."""
    canary = {"canary": "true", "canary-by-header": "x-next", "canary-by-cookie": "next", "canary-weight": "0"}
    retried = {"proxy-next-upstream": "http_503", "proxy-next-upstream-tries": "2", "proxy-read-timeout": "7"}
    return {
        "a star for one label": (
            [ingress("star", {"/": "one"}, host="*.star.test")],
            [("http://a.star.test/", {}), ("http://A.STAR.test/", {}), ("http://b.a.star.test/", {})],
            ["one /", "one /", "404"],
        ),
        "a default backend": (
            [ingress("last", {"/x": "one"}, default="two")],
            [("http://last.test/x", {}), ("http://last.test/y", {}), ("http://any.example/", {})],
            ["one /x", "two /y", "two /"],
        ),
        "aliases and www": (
            [ingress("main", {"/": "one"}, {"server-alias": "alias.test", "from-to-www-redirect": "true"})],
            [("http://alias.test/", {}), ("http://www.main.test/a", {})],
            ["one /", "308 http://main.test/a"],
        ),
        "a canary": (
            [ingress("main", {"/": "one"}), ingress("next", {"/": "two"}, canary, host="main.test")],
            [
                ("http://main.test/", {"headers": headers})
                for headers in ({}, {"x-next": "always"}, {"cookie": "next=always"}, {"x-next": "never", "cookie": "next=always"})
            ],
            ["one /", "two /", "two /", "one /"],
        ),
        "the oldest of two with one path": (
            [ingress("young", {"/a": "two", "/b": "two"}, host="age.test", age=2), ingress("old", {"/a": "one"}, host="age.test", age=1)],
            [("http://age.test/a", {}), ("http://age.test/b", {})],
            ["one /a", "two /b"],
        ),
        "many paths": (
            [ingress("many", {f"/{at}": "one" if at % 2 else "two" for at in range(40)})],
            [(f"http://many.test/{at}", {}) for at in (0, 15, 16, 39)],
            ["two /0", "one /15", "two /16", "one /39"],
        ),
        "headers of a ConfigMap": (
            [
                {"kind": "ConfigMap", "metadata": {"name": "extra"}, "data": {"Location": "/there"}},
                ingress("extra", {"/": "one"}, {"custom-headers": "extra"}),
                ingress("lacking", {"/": "one"}, {"custom-headers": "nowhere"}),
            ],
            [("http://extra.test/", {}), ("http://lacking.test/", {})],
            ["one /", "500"],
        ),
        "sharing by a header": (
            [ingress("share", {"/": "one"}, {"upstream-hash-by": "$http_x_user"})], [("http://share.test/", {})], ["one /"],
        ),
        "prefixes, rates and sizes": (
            [
                ingress(
                    "guard",
                    {"/": "one"},
                    {"whitelist-source-range": "127.0.0.0/8", "limit-rpm": "1000", "proxy-body-size": "1k", "from-to-www-redirect": "true"},
                ),
                ingress("shut", {"/": "one"}, {"denylist-source-range": "127.0.0.1, ::1"}),
            ],
            [
                ("http://guard.test/", {}),
                ("http://guard.test/", {"method": "POST", "body": b"x" * 2000}),
                ("http://www.guard.test/", {}),
                ("http://shut.test/", {}),
            ],
            ["one /", "413", "308 http://guard.test/", "403"],
        ),
        "passwords": (
            [ingress("users", {"/": "one"}, {"auth-type": "basic", "auth-secret": "nobody"})], [("http://users.test/", {})], ["500"],
        ),
        "somebody else decides": (
            [ingress("judged", {"/": "one"}, {"auth-url": "http://two.default.svc/", "auth-response-headers": "x-from"})],
            [("http://judged.test/", {})],
            ["one /"],
        ),
        "somebody else decides by a path, and somebody else sees it": (
            [ingress("asked", {"/": "one"}, {"auth-url": "http://two.default.svc/check", "mirror-target": "http://two.default.svc$request_uri"})],
            [("http://asked.test/a", {})],
            ["one /a"],
        ),
        "who is not known signs in": (
            [
                ingress(
                    "signed",
                    {"/": "one"},
                    {
                        "auth-url": "http://two.default.svc/check",
                        "auth-signin": "https://$host/start?as=$request_method",
                        "auth-request-redirect": "https://$host$request_uri",
                        "auth-method": "HEAD",
                        "auth-proxy-set-headers": "told",
                    },
                ),
                {"kind": "ConfigMap", "metadata": {"name": "told"}, "data": {"X-Tenant": "t"}},
            ],
            [("http://signed.test/a", {})],
            ["one /a"],
        ),
        "a session": (
            [ingress("session", {"/": "one"}, {"affinity": "cookie", "session-cookie-max-age": "60"})], [("http://session.test/", {})], ["one /"],
        ),
        "retries and silence": ([ingress("tries", {"/": "one"}, retried)], [("http://tries.test/", {})], ["one /"]),
        "patterns beside prefixes": (
            [
                ingress("pattern", {"/foo/(.*)": "one"}, {"rewrite-target": "/$1", "upstream-vhost": "in.example"}, host="beside.test", kind="ImplementationSpecific"),
                ingress("prefix", {"/foo/static": "two"}, host="beside.test"),
            ],
            [("http://beside.test/foo/a", {}), ("http://beside.test/foo/static/a", {})],
            ["one /a", "two /foo/static/a"],
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", cases(), ids=str)
async def test_hosts_canaries_and_order(lab: GatewayLab, schemas: Mapping[str, ResourceSchema], case: str) -> None:
    objects, asks, wanted = cases()[case]
    assert await both(lab, schemas, objects, asks) == [(each, each) for each in wanted]


async def test_certificates_of_other_namespaces(lab: GatewayLab, schemas: Mapping[str, ResourceSchema]) -> None:
    objects: list[Json] = []
    chains = []
    for team in ("a", "b"):
        await lab.serve(f"app-{team}", lab.backends["one"].port, namespace=f"team-{team}")
        key, chain = secret(f"tls-{team}", f"{team}.test", namespace=f"team-{team}")
        labels = {"kubernetes.io/metadata.name": f"team-{team}"}
        namespace: dict[str, Any] = {"kind": "Namespace", "metadata": {"name": f"team-{team}", "labels": labels}}
        await lab.apply(f"{key}---\n{text(namespace)}")
        obj = ingress(team, {"/": f"app-{team}"}, tls=f"tls-{team}")
        obj["metadata"]["namespace"] = f"team-{team}"
        objects.append(obj)
        chains.append(chain)
    trust = trusting(*chains)
    asks = [
        (f"{scheme}://{team}.test/x", {"tls": trust} if scheme == "https" else {})
        for team in "ab"
        for scheme in ("http", "https")
    ]
    wanted = ["308 https://a.test/x", "one /x", "308 https://b.test/x", "one /x"]
    assert await both(lab, schemas, objects, asks) == [(each, each) for each in wanted]


async def test_more_hosts_with_certificates_than_a_gateway_has_listeners(
    lab: GatewayLab, schemas: Mapping[str, ResourceSchema]
) -> None:
    hosts = [f"h{at}.many.test" for at in range(140)]
    key, chain = secret("tls-many", "*.many.test", namespace="team-many")
    spaces: list[Json] = [
        {"kind": "Namespace", "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
        for name in ("default", "team-many")
    ]
    await lab.apply(f"{key}---\n{text(*spaces)}")
    await lab.serve("app-many", lab.backends["one"].port, namespace="team-many")
    many = ingress("many", {"/": "app-many"}, tls="tls-many")
    many["metadata"]["namespace"] = "team-many"
    many["spec"]["rules"] = [{**many["spec"]["rules"][0], "host": each} for each in hosts]
    many["spec"]["tls"][0]["hosts"] = hosts
    # A host without a certificate of its own, and one for all of them, beside the others.
    beside = ingress("beside", {"/": "two"}, host="plain.test")
    wild = ingress("wild", {"/wild": "two"}, {"ssl-redirect": "false"}, host="*.many.test")
    trust = trusting(chain)
    asks: list[tuple[str, Json]] = [
        (f"{scheme}://h{at}.many.test{path}", {"tls": trust} if scheme == "https" else {})
        for at in (0, 62, 63, 64, 126, 127, 139)
        for scheme, path in (("http", "/"), ("https", "/"), ("https", "/wild"))
    ]
    asks += [("http://plain.test/", {}), ("http://other.many.test/wild", {}), ("http://h200.many.test/", {})]
    found = await both(lab, schemas, [many, beside, wild], asks)
    assert [there for there, _ in found] == [here for _, here in found]
    said = {url: there for (url, _), (there, _) in zip(asks, found, strict=True)}
    assert {url: said[url] for url in list(said)[-5:]} == {
        "https://h139.many.test/": "one /",
        "https://h139.many.test/wild": "one /wild",
        "http://plain.test/": "two /",
        "http://other.many.test/wild": "two /wild",
        "http://h200.many.test/": "404",
    }
    made = convert(lab.snapshot.ingress_classes, lab.snapshot.ingresses, lab.snapshot.services, Options())
    kinds = Counter(each["kind"] for each in made.objects)
    assert (kinds["Gateway"], kinds["ListenerSet"], made.problems) == (1, 2, ())
    await lab.delete("Ingress", "many", "team-many")


async def test_http3_of_a_class_is_a_policy_of_its_gateway_and_listener_sets(
    lab: GatewayLab, schemas: Mapping[str, ResourceSchema]
) -> None:
    snapshot = lab.snapshot
    hosts = [f"h{at}.test" for at in range(70)]
    secure = ingress("secure", {"/": "one"}, tls="t")
    secure["spec"]["tls"][0]["hosts"] = hosts
    for wished in ("true", "false"):
        events = [lab.event(each) for each in (klass("nginx", http3=wished), copy.deepcopy(secure))]
        found = fold(snapshot, events)
        ingresses = {each.key: found.ingresses[each.key] for each in events if each.kind == "Ingress"}
        made = convert(found.ingress_classes, ingresses, found.services, Options()).objects
        doors = {
            (each["kind"], each["metadata"]["name"]) for each in made if each["kind"] in ("Gateway", "ListenerSet")
        }
        assert len(doors) == 2
        policies = [each for each in made if each["kind"] == "ClientTrafficPolicy"]
        refs = {(ref["kind"], ref["name"]) for each in policies for ref in each["spec"]["targetRefs"]}
        assert refs == (doors if wished == "true" else set())
        for each in policies:
            assert each["spec"]["http3"] == {} and not list(schemas["ClientTrafficPolicy"].check(each))
