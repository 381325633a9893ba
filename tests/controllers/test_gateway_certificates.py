"""Certificates that listeners are issued: for which Secrets and hosts, when anew, and what is never touched."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from tests.controllers.lab import lab
from tests.controllers.test_gateways import made

from fairlead.api import crds
from fairlead.api.certificate import key_pair
from fairlead.api.resources import (
    CLIENTTRAFFICPOLICIES,
    GATEWAYCLASSES,
    GATEWAYS,
    HTTPROUTES,
    INGRESSES,
    LISTENERSETS,
    NAMESPACES,
    SECRETS,
)
from fairlead.controllers.gateway import issuing
from fairlead.model.gateway.names import CONTROLLER

Json = dict[str, Any]
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
ASK = {issuing.ANNOTATION: issuing.LAB}


def https(host: str, secret: str, **ref: str) -> Json:
    return {"name": secret, "hostname": host, "tls": {"certificateRefs": [{"name": secret, **ref}]}}


def gateway(*listeners: Json, annotations: Json = ASK, name: str = "web") -> Json:
    metadata = {"name": name, "namespace": "x", "uid": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Gateway", "metadata": metadata, "spec": {"listeners": list(listeners)}}


def test_what_is_wanted() -> None:
    ingress = gateway(name="i") | {
        "spec": {"tls": [{"secretName": "a", "hosts": ["C.example"]}, {"hosts": ["d.example"]}]}
    }
    objects = [
        gateway(https("a.example", "a"), https("*.b.example", "a"), https("not a host", "c")),
        ingress,
        # Not asked for; of another namespace; of another kind; no host to be for.
        gateway(https("e.example", "e"), annotations={}),
        gateway(https("f.example", "f", namespace="other"), https("g.example", "g", kind="Other", group="z")),
        gateway({"name": "h", "tls": {"certificateRefs": [{"name": "h"}]}}, {"name": "plain"}),
    ]
    found = issuing.wishes(objects)
    assert {key: wish.hosts for key, wish in found.items()} == {("x", "a"): ("*.b.example", "a.example", "c.example")}
    assert [each["metadata"]["name"] for each in found["x", "a"].owners] == ["web", "i"]


def test_what_is_issued() -> None:
    authority = issuing.authority(NOW)
    (wish,) = issuing.wishes([gateway(https("*.a.example", "a"))]).values()
    secret = issuing.issue(("x", "a"), wish, authority, NOW)
    # Nodes read certificates; the authority's key is none of their business.
    assert (authority["type"], secret["type"]) == ("Opaque", "kubernetes.io/tls")
    assert [each["uid"] for each in secret["metadata"]["ownerReferences"]] == ["web"]
    leaf = x509.load_pem_x509_certificate(key_pair(secret).chain)
    ca = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["ca.crt"]))
    leaf.verify_directly_issued_by(ca)
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert issuing.fits(secret, wish, authority)
    assert issuing.renewal(secret) - NOW == datetime.timedelta(days=20)
    other = issuing.Wish(("b.example",), ())
    assert not issuing.fits(secret, other, authority)
    assert not issuing.fits(secret, wish, issuing.authority(NOW))
    for broken in ({}, {"tls.crt": "AAAA"}, {"tls.crt": "!"}):
        spoiled = secret | {"data": broken}
        assert not issuing.fits(spoiled, wish, authority)
        assert issuing.renewal(spoiled) < NOW
        with pytest.raises(ValueError, match="holds no authority"):
            issuing.issue(("x", "a"), wish, spoiled, NOW)


async def test_secrets_are_made_and_those_of_others_are_left_alone(tmp_path: Path, certificates: Path) -> None:
    run = ("gateway-certificate",)
    async with lab(tmp_path, certificates, run, nodes=0, definitions=crds.FOLDER) as it:
        it.follow(SECRETS)
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "fairlead", controllerName=CONTROLLER))
        theirs = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {"name": "theirs", "namespace": "default"},
        }
        await it.client.create(SECRETS, theirs)
        listeners = [{**https(f"{name}.example", name), "port": 443, "protocol": "HTTPS"} for name in ("a", "theirs")]
        asking = made(GATEWAYS, "web", gatewayClassName="fairlead", listeners=listeners)
        asking["metadata"]["annotations"] = ASK
        await it.client.create(GATEWAYS, asking)
        first = await it.until(lambda: it.get(SECRETS, "a"), "the Gateway's certificate")
        ingress = made(
            INGRESSES,
            "i",
            tls=[{"hosts": ["i.example"], "secretName": "i"}],
            defaultBackend={"service": {"name": "s", "port": {"number": 80}}},
        )
        ingress["metadata"]["annotations"] = ASK
        await it.client.create(INGRESSES, ingress)
        await it.until(lambda: it.get(SECRETS, "i"), "the Ingress's certificate")
        more = made(
            LISTENERSETS,
            "s",
            parentRef={"name": "web"},
            listeners=[{**https("b.example", "a"), "port": 443, "protocol": "HTTPS"}],
        )
        more["metadata"]["annotations"] = ASK
        await it.client.create(LISTENERSETS, more)

        def hosts() -> set[str]:
            found = x509.load_pem_x509_certificate(base64.b64decode((it.get(SECRETS, "a") or first)["data"]["tls.crt"]))
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            return set(names.get_values_for_type(x509.DNSName))

        await it.until(lambda: hosts() == {"a.example", "b.example"}, "one host more")
        assert (it.get(SECRETS, "theirs") or {}).get("data") is None


async def test_the_example_of_tenants_is_what_the_definitions_allow(tmp_path: Path, certificates: Path) -> None:
    text = (Path(__file__).parents[2] / "examples/gateway/tenants.yaml").read_text()
    async with lab(tmp_path, certificates, ("gateway-certificate",), nodes=0, definitions=crds.FOLDER) as it:
        await it.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        of_kind = {each.kind: each for each in (NAMESPACES, GATEWAYS, LISTENERSETS, CLIENTTRAFFICPOLICIES, HTTPROUTES)}
        for obj in yaml.safe_load_all(text):
            await it.client.create(of_kind[obj["kind"]], obj)
        it.follow(SECRETS)
        await it.until(lambda: it.get(SECRETS, "secure-shop", "shop"), "its certificate")
