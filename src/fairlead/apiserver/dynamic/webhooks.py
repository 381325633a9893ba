"""Admission webhooks: who is asked about a request, in which order, and what follows from the answers.

Mutating ones are asked one after the other, by name of their configuration, and once more where they ask for it and others have changed the
object since; validating ones all at once. Source: k8s.io/apiserver's admission/plugin/webhook.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jsonpatch
import msgspec

from fairlead.apiserver.admission.chain import Attributes, Plugin, run
from fairlead.apiserver.api import Api
from fairlead.apiserver.dynamic import expressions
from fairlead.apiserver.dynamic.caller import ToService, Unreachable, call
from fairlead.apiserver.dynamic.entry import GROUP
from fairlead.apiserver.dynamic.expressions import Condition, Failed
from fairlead.apiserver.dynamic.matching import Constraints, constraints, converted, ordered
from fairlead.apiserver.errors import StatusError, bad_request, forbidden, internal
from fairlead.apiserver.served import Served
from fairlead.apiserver.store.records import decode, encode

Json = dict[str, Any]

log = logging.getLogger(__name__)

_DRY = frozenset({"None", "NoneOnDryRun"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook of one configuration."""

    name: str
    client: Json
    constraints: Constraints
    conditions: tuple[Condition, ...]
    ignores_failure: bool
    timeout_s: float
    dry: bool
    again: bool

    @classmethod
    def of(cls, obj: Json) -> Webhook:
        """Return the webhook that an entry of `webhooks` describes."""
        return cls(
            name=obj["name"],
            client=obj["clientConfig"],
            constraints=constraints({**obj, "rules": obj.get("rules") or []}, rules="rules"),
            conditions=expressions.conditions(obj.get("matchConditions")),
            ignores_failure=obj.get("failurePolicy") == "Ignore",
            timeout_s=float(obj.get("timeoutSeconds") or 10),
            dry=obj.get("sideEffects") in _DRY,
            again=obj.get("reinvocationPolicy") == "IfNeeded",
        )


class Webhooks:
    """The webhooks of one sort, as the store holds them."""

    def __init__(self, api: Api, sort: Literal["mutating", "validating"], to_service: ToService) -> None:
        self._api = api
        self._to_service = to_service
        self._table = f"{GROUP}/{sort}webhookconfigurations"
        self._known: list[Webhook] | None = None
        api.store.follow(self._table, lambda _: self._forget())

    def _forget(self) -> None:
        self._known = None

    def all(self) -> list[Webhook]:
        """Return all webhooks, in order."""
        if self._known is None:
            entries = ordered(self._api.store.entries(self._table))
            self._known = [Webhook.of(one) for entry in entries for one in entry.obj.get("webhooks") or ()]
        return self._known

    def wanted(self, webhook: Webhook, attributes: Attributes) -> tuple[Served, Json] | None:
        """Return as what the webhook is asked about a request, and what: an AdmissionRequest; None when it is not. Raises 403."""
        served = webhook.constraints.match(self._api, attributes)
        if served is None:
            return None
        request = expressions.request_of(attributes, served)
        try:
            if not expressions.hold(
                webhook.conditions,
                expressions.variables_of(self._api.authorizer, attributes, request),
                expressions.budget(),
            ):
                return None
        except Failed as error:
            if webhook.ignores_failure:
                return None
            raise forbidden(attributes.served.resource, attributes.name, str(error)) from None
        return served, request

    async def ask(self, webhook: Webhook, attributes: Attributes, request: Json) -> Json | None:
        """Return the webhook's response, which allows; None when it failed and that is ignored. Raises StatusError."""
        if attributes.dry_run and not webhook.dry:
            raise bad_request(f'admission webhook "{webhook.name}" does not support dry run')
        review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
        try:
            response = await call(webhook.client, review, webhook.timeout_s, self._to_service)
        except Unreachable as error:
            if webhook.ignores_failure:
                log.warning("webhook failed, and is ignored", extra={"webhook": webhook.name, "error": str(error)})
                return None
            raise internal(f'failed calling webhook "{webhook.name}": {error}') from None
        for warning in response.get("warnings") or ():
            attributes.warnings.append(str(warning))
        if not response.get("allowed"):
            raise _denied(webhook.name, response.get("status"))
        return response


async def validate(webhooks: Webhooks, mutating: Webhooks, attributes: Attributes) -> None:
    """Ask validating webhooks, and about a deletion the mutating ones too; raises StatusError."""
    if attributes.operation == "DELETE":
        for webhook in mutating.all():
            if (wanted := mutating.wanted(webhook, attributes)) is not None:
                await mutating.ask(webhook, attributes, wanted[1])
    asked = [(one, wanted[1]) for one in webhooks.all() if (wanted := webhooks.wanted(one, attributes)) is not None]
    results = await asyncio.gather(
        *(webhooks.ask(webhook, attributes, request) for webhook, request in asked), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def mutate(webhooks: Webhooks, attributes: Attributes, before: Sequence[Plugin]) -> None:
    """Ask mutating webhooks and take over what they change; raises StatusError."""
    seen: dict[int, bytes] = {}
    original = encode(attributes.obj)
    for number, webhook in enumerate(webhooks.all()):
        if await _change(webhooks, webhook, attributes):
            seen[number] = encode(attributes.obj)
    if encode(attributes.obj) == original:
        return
    await run(list(before), attributes)
    for number, webhook in enumerate(webhooks.all()):
        if webhook.again and number in seen and seen[number] != encode(attributes.obj):
            await _change(webhooks, webhook, attributes)


async def _change(webhooks: Webhooks, webhook: Webhook, attributes: Attributes) -> bool:
    """Ask one mutating webhook and apply its patch; returns whether it was asked."""
    wanted = webhooks.wanted(webhook, attributes)
    if wanted is None:
        return False
    served, request = wanted
    response = await webhooks.ask(webhook, attributes, request)
    if response is None or not response.get("patch"):
        return True
    try:
        if response.get("patchType") != "JSONPatch":
            raise Unreachable('webhook returned response.patch but not response.patchType "JSONPatch"')
        patched = _patched(request["object"], str(response["patch"]))
        _take_over(attributes, converted(patched, served, attributes.served))
    except Unreachable as error:
        if not webhook.ignores_failure:
            raise internal(f'failed calling webhook "{webhook.name}": {error}') from None
    return True


def _patched(obj: Json, patch: str) -> Json:
    try:
        operations = decode(base64.b64decode(patch, validate=True))
        found = jsonpatch.apply_patch(decode(encode(obj)), operations)
    except (binascii.Error, msgspec.DecodeError) as error:
        raise Unreachable(f"the patch cannot be read: {error}") from None
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError, AttributeError) as error:
        raise Unreachable(f"the patch cannot be applied: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
        raise Unreachable("the patch leaves no object")
    return found


def _take_over(attributes: Attributes, patched: Json) -> None:
    """Make the object what a webhook made of it, in place; who it is stays."""
    obj, metadata = attributes.obj, attributes.obj["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "uid", "generateName") if key in metadata}
    if patched.get("kind") == attributes.served.resource.kind:
        wrong = attributes.served.strategy.type_error(patched, None)
        if wrong:
            raise Unreachable(wrong)
        attributes.served.strategy.default(patched)
    changed = patched["metadata"] | kept
    metadata.clear()
    metadata.update(changed)
    obj.clear()
    obj.update(patched)
    obj["metadata"] = metadata


def _denied(name: str, status: object) -> StatusError:
    """Return the refusal of a webhook, whose own words, code and reason count."""
    given = status if isinstance(status, dict) else {}
    code = given.get("code")
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    words = given.get("message") or given.get("reason")
    denied = f'admission webhook "{name}" denied the request'
    found: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"{denied}: {words}" if words else f"{denied} without explanation",
    }
    for key in ("reason", "details"):
        if given.get(key):
            found[key] = given[key]
    return StatusError(found | {"code": code})
