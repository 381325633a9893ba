"""Tokens of ServiceAccounts: asked for, believed, and no longer believed once what they are bound to is gone."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from apiserver_client import Http, pod
from hypothesis import given
from hypothesis import strategies as st

from fairlead.apiserver.authn.tokens import ISSUER, InvalidToken, Tokens
from fairlead.apiserver.server import Server
from fairlead.apiserver.store.engine import Store

Json = dict[str, Any]
IN_DEFAULT = "/api/v1/namespaces/default"
TOKEN = f"{IN_DEFAULT}/serviceaccounts/default/token"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def request(**spec: Any) -> Json:
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


def bound(kind: str, name: str, uid: str = "") -> Json:
    return {"apiVersion": "v1", "kind": kind, "name": name} | ({"uid": uid} if uid else {})


async def token_of(http: Http, **spec: Any) -> str:
    return str((await http.ok("POST", TOKEN, request(**spec)))["status"]["token"])


class Bearer:
    """Requests with nothing but a token."""

    def __init__(self, http: Http, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    async def __call__(self, method: str, path: str, body: Any = None) -> Any:
        return await self._http(method, path, body, headers=self._headers)


@pytest.fixture
async def nobody(server: Server, certificates: Path) -> Any:
    client = Http(certificates, server.ports[0], user=None)
    yield client
    await client.close()


async def test_a_token_is_its_account(http: Http, nobody: Http):
    answer = await http.ok("POST", TOKEN, request(expirationSeconds=1200))
    assert answer["kind"] == "TokenRequest" and answer["spec"]["audiences"] == [ISSUER]
    expires = time.mktime(time.strptime(answer["status"]["expirationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert 1100 < expires - time.time() < 1300
    caller = Bearer(nobody, answer["status"]["token"])
    user = (await caller("POST", WHO, {})).body["status"]["userInfo"]
    account = await http.ok("GET", f"{IN_DEFAULT}/serviceaccounts/default")
    assert (user["username"], user["uid"]) == ("system:serviceaccount:default:default", account["metadata"]["uid"])
    assert user["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert list(user["extra"]) == ["authentication.kubernetes.io/credential-id"]
    answer = await caller("GET", f"{IN_DEFAULT}/pods")
    assert answer.message == (
        'pods is forbidden: User "system:serviceaccount:default:default" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )


async def test_claims_and_discovery_as_upstream(http: Http, nobody: Http):
    await http.ok("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    made = await http.ok("POST", f"{IN_DEFAULT}/pods", pod("p", nodeName="n"))
    caller = Bearer(nobody, await token_of(http))
    token = await token_of(http, audiences=["vault", "other"], boundObjectRef=bound("Pod", "p"))
    found = (await caller("GET", "/.well-known/openid-configuration")).body
    assert (found["issuer"], found["id_token_signing_alg_values_supported"]) == (ISSUER, ["ES256"])
    raw = await caller("GET", "/openid/v1/jwks")
    assert raw.headers["Content-Type"] == "application/jwk-set+json"
    keys = jwt.PyJWKSet.from_dict(json.loads(raw.body))
    claims = jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], algorithms=["ES256"], audience="vault")
    private = claims["kubernetes.io"]
    assert set(claims) == {"aud", "exp", "iat", "iss", "jti", "kubernetes.io", "nbf", "sub"}
    assert private["namespace"] == "default" and private["pod"] == {"name": "p", "uid": made["metadata"]["uid"]}
    assert (private["serviceaccount"]["name"], private["node"]["name"]) == ("default", "n")
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        assert (await nobody("GET", path)).code == 403


REFUSED: dict[str, tuple[Json, int, str]] = {
    "too short": (
        {"expirationSeconds": 60},
        422,
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 60: '
        "may not specify a duration less than 10 minutes",
    ),
    "too long": ({"expirationSeconds": 1 << 33}, 422, "may not specify a duration larger than 2^32 seconds"),
    "no number": ({"expirationSeconds": "x"}, 400, "spec.expirationSeconds must be an integer"),
    "a pod that does not exist": ({"boundObjectRef": bound("Pod", "nope")}, 404, 'pods "nope" not found'),
    "an object of another kind": (
        {"boundObjectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}},
        400,
        "cannot bind token to object of type apps/v1, Kind=Deployment",
    ),
    "a pod of another account": (
        {"boundObjectRef": bound("Pod", "other")},
        400,
        'cannot bind token for serviceaccount "default" to pod running with serviceaccount "builder"',
    ),
    "another uid": ({"boundObjectRef": bound("Secret", "s", "123")}, 409, "might have been deleted and then recreated"),
    "audiences of another type": ({"audiences": "x"}, 400, "spec.audiences must be a list of strings"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_requests_that_are_refused(case: str, http: Http):
    spec, code, message = REFUSED[case]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder"}}
    await http.ok("POST", f"{IN_DEFAULT}/serviceaccounts", account)
    await http.ok("POST", f"{IN_DEFAULT}/pods", pod("other", serviceAccountName="builder"))
    await http.ok("POST", f"{IN_DEFAULT}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    answer = await http("POST", TOKEN, request(**spec))
    assert answer.code == code and answer.message.endswith(message), answer.body


@pytest.mark.parametrize("what", ["pods/p", "secrets/s", "serviceaccounts/a"])
async def test_a_token_ends_with_what_it_is_bound_to(what: str, http: Http, nobody: Http):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}}
    objects = {
        "serviceaccounts": account,
        "pods": pod("p", serviceAccountName="a"),
        "secrets": {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}},
    }
    for plural, obj in objects.items():
        await http.ok("POST", f"{IN_DEFAULT}/{plural}", obj)
    plural, _, name = what.partition("/")
    spec = {} if plural == "serviceaccounts" else {"boundObjectRef": bound(plural[:-1].capitalize(), name)}
    answer = await http.ok("POST", f"{IN_DEFAULT}/serviceaccounts/a/token", request(**spec))
    caller = Bearer(nobody, answer["status"]["token"])
    assert (await caller("POST", WHO, {})).code == 201
    await http.ok("DELETE", f"{IN_DEFAULT}/{what}?gracePeriodSeconds=0")
    assert (await caller("POST", WHO, {})).code == 401
    # Another of the same name is another.
    await http.ok("POST", f"{IN_DEFAULT}/{plural}", objects[plural])
    answer = await caller("POST", WHO, {})
    assert (answer.code, answer.message) == (401, "Unauthorized")


async def test_tokens_in_secrets(http: Http, nobody: Http):
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token",
    }
    dry = await http.ok("POST", f"{IN_DEFAULT}/secrets?dryRun=All", secret)
    assert "token" not in dry.get("data", {})
    made = await http.ok("POST", f"{IN_DEFAULT}/secrets", secret)
    data = {key: base64.b64decode(value).decode() for key, value in made["data"].items()}
    assert (data["namespace"], data["ca.crt"].splitlines()[0]) == ("default", "-----BEGIN CERTIFICATE-----")
    caller = Bearer(nobody, data["token"])
    who = (await caller("POST", WHO, {})).body["status"]["userInfo"]
    assert who["username"] == "system:serviceaccount:default:default"
    await http.ok("DELETE", f"{IN_DEFAULT}/secrets/t")
    assert (await caller("POST", WHO, {})).code == 401
    secret["metadata"]["annotations"]["kubernetes.io/service-account.name"] = "nobody"
    assert "token" not in (await http.ok("POST", f"{IN_DEFAULT}/secrets", secret)).get("data", {})


async def test_reviews_of_tokens(http: Http):
    token = await token_of(http, audiences=["vault", "api"])

    async def review(token: str, *audiences: str) -> Json:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        body["spec"] |= {"audiences": list(audiences)} if audiences else {}
        status: Json = (await http.ok("POST", REVIEWS, body))["status"]
        return status

    good = await review(token, "vault", "elsewhere")
    assert (good["authenticated"], good["audiences"]) == (True, ["vault"])
    assert good["user"]["username"] == "system:serviceaccount:default:default"
    assert "invalid for the target audiences" in (await review(token))["error"]
    bad = await review("no.such.token")
    assert not bad.get("authenticated") and bad["error"].startswith("[invalid bearer token, ")
    assert (await http("POST", REVIEWS, {"spec": {}})).code == 400


async def test_tokens_for_others_open_nothing_here(http: Http, nobody: Http):
    caller = Bearer(nobody, await token_of(http, audiences=["vault"]))
    assert (await caller("POST", WHO, {})).code == 401


@pytest.mark.parametrize("header", ["Bearer made-up", "bearer  x.y.z", "Bearer " + "a" * 17000])
async def test_made_up_tokens(header: str, nobody: Http):
    answer = await nobody("GET", f"{IN_DEFAULT}/pods", headers={"Authorization": header})
    assert answer.code in (400, 401)


async def test_dry_run_gives_no_token(http: Http):
    answer = await http.ok("POST", f"{TOKEN}?dryRun=All", request())
    assert answer["status"]["token"] == ""


@pytest.fixture
async def tokens(tmp_path: Path, certificates: Path) -> Any:
    store = Store(tmp_path / "state.db")
    store.open()
    yield Tokens(store, certificates / "sa.key")
    await store.close()


ACCOUNT: Json = {"metadata": {"namespace": "d", "name": "a", "uid": "1"}}


async def test_times(tokens: Tokens, monkeypatch: pytest.MonkeyPatch):
    token, expires = tokens.issue(ACCOUNT, audiences=[ISSUER], lifetime_s=600)
    for at, words in (
        (expires + 61, "has expired"),
        (expires - 601 - 60, "not valid yet"),
        (expires - 1, 'serviceaccounts "a" not found'),
    ):
        monkeypatch.setattr(time, "time", lambda at=at: float(at))
        with pytest.raises(InvalidToken, match=words):
            tokens.verify(token)


async def test_no_other_key_and_no_other_algorithm(tokens: Tokens, certificates: Path):
    token, _ = tokens.issue(ACCOUNT, audiences=[ISSUER], lifetime_s=600)
    claims = jwt.decode(token, options={"verify_signature": False})
    for forged in (
        jwt.encode(claims, (certificates / "admin.key").read_text(), algorithm="ES256"),
        jwt.encode(claims, "x" * 32, algorithm="HS256"),
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims | {"iss": "https://elsewhere"}, (certificates / "sa.key").read_text(), algorithm="ES256"),
        jwt.encode(claims | {"sub": "system:admin"}, (certificates / "sa.key").read_text(), algorithm="ES256"),
    ):
        with pytest.raises(InvalidToken, match="invalid bearer token|subject"):
            tokens.verify(forged)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_garbage_is_no_token(certificates: Path, noise: bytes, position: int):
    tokens = Tokens(Store(certificates / "state.db"), certificates / "sa.key")
    good, _ = tokens.issue(ACCOUNT, audiences=[ISSUER], lifetime_s=600)
    head, body, signature = good.split(".")
    text = base64.urlsafe_b64encode(noise).decode().rstrip("=")
    for candidate in (text, f"{text}.{body}.{signature}", f"{head}.{text}.{signature}", f"{head}.{body}.{text}"):
        with pytest.raises(InvalidToken, match="invalid bearer token"):
            tokens.verify(candidate)
    changed = good[:position] + ("A" if good[position : position + 1] != "A" else "B") + good[position + 1 :]
    with pytest.raises(InvalidToken, match="invalid bearer token"):
        tokens.verify(changed)
