"""HTTP-01 by Ingresses as cert-manager makes them, beside the application's own for the host: by real requests, until its certificate serves."""

from __future__ import annotations

import pytest
from tests.drivers.xds.gatewaylab import GatewayLab, Json
from tests.drivers.xds.ingresslab import asked, ingress, klass, opened, text
from tests.drivers.xds.requestpolicies import status_from
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.model.gateway.ingress import gateway_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOKEN = "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
CLASSES = {"nginx": "308 https://HOST/a", "haproxy": "302 https://HOST/a", "traefik": "404", "plain": "one /a"}
"""Class → what its application says to plain HTTP."""
FORMS: dict[str, tuple[str, bool, str]] = {
    "before 1.18": ("ImplementationSpecific", True, "NodePort"),
    "as it is now": ("Exact", False, "ClusterIP"),
}
"""Type of path, whether an annotation names the class, type of Service."""


def solver(of: str, host: str, form: str) -> list[Json]:
    """The objects of a challenge, as pkg/issuer/acme/http of cert-manager makes them."""
    kind, annotated, service = FORMS[form]
    name = f"cm-acme-http-solver-{host.partition('.')[0]}"
    labels = {
        "acme.cert-manager.io/http-domain": "1031045386",
        "acme.cert-manager.io/http-token": "1107345110",
        "acme.cert-manager.io/http01-solver": "true",
    }
    owner = {"apiVersion": "acme.cert-manager.io/v1", "kind": "Challenge", "name": "c", "uid": "u", "controller": True}
    metadata = {"generateName": "cm-acme-http-solver-", "name": name, "labels": labels, "ownerReferences": [owner]}
    annotations = {"nginx.ingress.kubernetes.io/whitelist-source-range": "0.0.0.0/0,::/0"}
    backend = {"service": {"name": name, "port": {"number": 8089}}}
    spec: Json = {"rules": [{"host": host, "http": {"paths": [{"path": TOKEN, "pathType": kind, "backend": backend}]}}]}
    if annotated:
        annotations["kubernetes.io/ingress.class"] = of
    else:
        spec["ingressClassName"] = of
    port = {"name": "http", "port": 8089, "targetPort": 8089, **({"nodePort": 31089} if service == "NodePort" else {})}
    return [
        {
            "kind": "Service",
            "metadata": metadata,
            "spec": {"type": service, "clusterIP": "10.96.0.89", "ports": [port]},
        },
        {"kind": "Ingress", "metadata": {**metadata, "annotations": annotations}, "spec": spec},
    ]


def endpoint(name: str, port: int) -> Json:
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


@pytest.mark.parametrize("form", FORMS)
async def test_the_token_is_served_until_the_certificate_is_there(lab: GatewayLab, form: str) -> None:
    answering = lab.backends["two"]
    hosts = {of: f"{of}{list(FORMS).index(form)}.acme.test" for of in CLASSES}
    objects: list[Json] = [klass(of) for of in CLASSES]
    for of, host in hosts.items():
        lab.door(*gateway_of(of), 80, 443)
        own = {"nginx.ingress.kubernetes.io/rewrite-target": "/$1"} if of == "nginx" else {}
        path = {"/(.*)": "one"} if own else {"/": "one"}
        objects.append(
            ingress(f"app-{host}", path, own, of=of, host=host, tls=f"tls-{host}", kind="ImplementationSpecific")
        )
    await lab.apply(text(*objects))
    for of in hosts:
        await opened(lab, of)
    before = {of: await asked(lab, f"http://{host}{TOKEN}", of=of) for of, host in hosts.items()}
    challenges = [each for of, host in hosts.items() for each in solver(of, host, form)]
    slices = [endpoint(each["metadata"]["name"], answering.port) for each in challenges if each["kind"] == "Service"]
    await lab.apply(text(*challenges, *slices))
    found = {of: await asked(lab, f"http://{host}{TOKEN}", of=of) for of, host in hosts.items()}
    assert found == dict.fromkeys(hosts, f"two {TOKEN}")
    assert await status_from(lab, "::1", hosts["nginx"], gateway=gateway_of("nginx")[1], path=TOKEN) == 200
    for of, host in hosts.items():
        assert await asked(lab, f"http://{host}/a", of=of) == CLASSES[of].replace("HOST", host)
        assert not lab.complaints(f"Ingress/default/cm-acme-http-solver-{host.partition('.')[0]}")
    # The certificate comes, and the challenge goes.
    made = [secret(f"tls-{host}", host) for host in hosts.values()]
    await lab.apply("---\n".join(key for key, _ in made))
    for each in challenges:
        await lab.delete(each["kind"], each["metadata"]["name"])
    trust = trusting(*(chain for _, chain in made))
    for of, host in hosts.items():
        await opened(lab, of, 443)
        assert await asked(lab, f"https://{host}/a", of=of, tls=trust) == "one /a"
        assert await asked(lab, f"http://{host}{TOKEN}", of=of) == before[of]
        await lab.delete("Ingress", f"app-{host}")


async def test_a_path_that_is_added_to_the_applications_own_ingress(lab: GatewayLab) -> None:
    """By the annotation acme.cert-manager.io/http01-edit-in-place no Ingress is made."""
    lab.door(*gateway_of("nginx"), 80, 443)
    wishes = {
        "force-ssl-redirect": "true",
        "acme.cert-manager.io/http01-edit-in-place": "true",
        "cert-manager.io/issuer": "a",
    }
    paths = {f"Exact {TOKEN}": "two", "/": "one"}
    await lab.apply(text(klass("nginx"), ingress("edited", paths, wishes, tls="tls-edited")))
    await opened(lab, "nginx")
    assert await asked(lab, f"http://edited.test{TOKEN}") == f"two {TOKEN}"
    assert await asked(lab, "http://edited.test/.well-known/other") == "308 https://edited.test/.well-known/other"
