"""Tokens of pods: asked for once, renewed in time, kept where the API server does not answer."""

from __future__ import annotations

import time

import pytest
from tests.lab.kubelet.kubelet_fakes import eventually

from fairlead.api.resources import PODS
from fairlead.lab.kubelet.pod import decode
from fairlead.lab.kubelet.tokens import Tokens
from fairlead.lab.kubelet.volumes import MountError
from fairlead.sources.errors import Forbidden, Unreachable

HOUR = 3600


class Issuer:
    """Answers token requests, unless `failure` says otherwise. `now` is everybody's clock."""

    def __init__(self):
        self.now = 1_000_000.0
        self.asked = []
        self.failure = None

    async def create(self, resource, obj, *, namespace, name, subresource):
        assert (resource.plural, subresource) == ("serviceaccounts", "token")
        if self.failure is not None:
            raise self.failure
        spec = obj["spec"]
        self.asked.append((namespace, name, spec))
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now + spec["expirationSeconds"]))
        return {"status": {"token": f"t{len(self.asked)}", "expirationTimestamp": expires}}


def pod(**source):
    sources = [{"serviceAccountToken": {"path": "token", **source}}]
    spec = {"containers": [], "volumes": [{"name": "v", "projected": {"sources": sources}}], "serviceAccountName": "a"}
    return decode({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec})


@pytest.fixture
def issuer(monkeypatch):
    issuer = Issuer()
    monkeypatch.setattr(time, "time", lambda: issuer.now)
    return issuer


@pytest.fixture
def tokens(issuer):
    return Tokens(issuer)


async def test_one_token_for_a_pod_bound_to_it(issuer, tokens):
    subject = pod(audience="vault", expirationSeconds=600)
    assert await tokens.of(subject) == {("vault", 600): "t1"}
    assert await tokens.of(subject) == {("vault", 600): "t1"}
    ((namespace, account, spec),) = issuer.asked
    assert (namespace, account, spec["audiences"], spec["expirationSeconds"]) == ("ns", "a", ["vault"], 600)
    assert spec["boundObjectRef"] == {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}


@pytest.mark.parametrize(
    ("life", "least", "most"), [(HOUR, 0.79 * HOUR, 0.8 * HOUR), (100 * HOUR, 23.9 * HOUR, 24 * HOUR)]
)
async def test_renewed_after_four_fifths_of_its_life_or_a_day(life, least, most, issuer, tokens):
    subject = pod(expirationSeconds=life)
    await tokens.of(subject)
    due = tokens.renew_at("u")
    assert least <= due - issuer.now <= most
    issuer.now = due - 1
    assert list((await tokens.of(subject)).values()) == ["t1"]
    issuer.now = due
    assert list((await tokens.of(subject)).values()) == ["t2"]
    assert tokens.renew_at("u") > issuer.now


async def test_an_old_token_stays_while_it_holds(issuer, tokens):
    subject = pod(expirationSeconds=HOUR)
    await tokens.of(subject)
    expires = issuer.now + HOUR
    issuer.failure = Unreachable("no answer")
    issuer.now = tokens.renew_at("u")
    assert list((await tokens.of(subject)).values()) == ["t1"]
    assert issuer.now < tokens.renew_at("u") <= issuer.now + 60, "asked again soon"
    issuer.now = expires + 1
    with pytest.raises(Unreachable):
        await tokens.of(subject)


async def test_a_refusal_is_told_as_upstream_does(issuer, tokens):
    issuer.failure = Forbidden({"message": 'serviceaccounts "a" is forbidden'})
    with pytest.raises(MountError) as caught:
        await tokens.of(pod())
    assert str(caught.value) == (
        'MountVolume.SetUp failed for volume "v" : failed to fetch token: serviceaccounts "a" is forbidden'
    )


async def test_a_pod_that_is_gone_leaves_no_token(issuer, tokens):
    await tokens.of(pod())
    tokens.forget("u")
    assert tokens.renew_at("u") is None


async def test_the_kubelet_shows_a_renewed_token(lab, monkeypatch):
    node = lab()
    sources = [{"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]
    async with node.kubelet():
        mounts = [{"name": "v", "mountPath": "/t"}]
        made = node.pod(
            containers=[{"name": "app", "image": "i", "volumeMounts": mounts}],
            volumes=[{"name": "v", "projected": {"sources": sources}}],
        )
        await node.api.wait_pod("web", lambda status: status.get("phase") == "Running")
        shown = node.settings.pods / made["metadata"]["uid"] / "volumes" / "v" / "token"
        assert shown.read_text() == "token-1"
        later = time.time() + 500
        monkeypatch.setattr(time, "time", lambda: later)
        node.api.put(PODS, {**made, "metadata": {**made["metadata"], "labels": {"look": "again"}}})
        await eventually(lambda: shown.read_text() == "token-2")
