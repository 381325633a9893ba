"""The way from admission to what users define: nothing is loaded, and nothing costs time, while there is nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api
from fairlead.apiserver.identity import SERVER

if TYPE_CHECKING:
    from fairlead.apiserver.dynamic.caller import ToService
    from fairlead.apiserver.dynamic.policies import Policies
    from fairlead.apiserver.dynamic.webhooks import Webhooks

GROUP = "admissionregistration.k8s.io"
_MUTATING, _VALIDATING = f"{GROUP}/mutatingwebhookconfigurations", f"{GROUP}/validatingwebhookconfigurations"
_BINDINGS = f"{GROUP}/validatingadmissionpolicybindings"


class Dynamic:
    """The admission functions of one server. `to_service` connects to a pod behind a Service."""

    def __init__(self, api: Api, to_service: ToService) -> None:
        self._api = api
        self._to_service = to_service
        self._mutating: Webhooks | None = None
        self._validating: Webhooks | None = None
        self._policies: Policies | None = None

    def mutating(self, before: Sequence[Plugin]) -> Plugin:
        """Return the function of mutating webhooks; `before` are run again when an object was changed."""

        def admit(attributes: Attributes) -> Awaitable[None] | None:
            if self._is_free(attributes, _MUTATING):
                return None
            from fairlead.apiserver.dynamic.webhooks import mutate

            return mutate(self._asked("mutating"), attributes, before)

        return admit

    def validating(self) -> Plugin:
        """Return the function of validating webhooks; deletions, which nothing changes, are shown to mutating ones here."""

        def admit(attributes: Attributes) -> Awaitable[None] | None:
            if self._is_free(attributes, _VALIDATING) and (
                attributes.operation != "DELETE" or self._is_free(attributes, _MUTATING)
            ):
                return None
            from fairlead.apiserver.dynamic.webhooks import validate

            return validate(self._asked("validating"), self._asked("mutating"), attributes)

        return admit

    def policies(self) -> Plugin:
        """Return the function of ValidatingAdmissionPolicies."""

        def admit(attributes: Attributes) -> None:
            if self._is_free(attributes, _BINDINGS):
                return
            if self._policies is None:
                from fairlead.apiserver.dynamic.policies import Policies

                self._policies = Policies(self._api)
            self._policies.judge(attributes)

        return admit

    def _is_free(self, attributes: Attributes, table: str) -> bool:
        """Tell whether nobody is asked: what repairs such a configuration never is, nor is the server itself."""
        return (
            not self._api.store.table(table).entries
            or attributes.identity == SERVER
            or attributes.served.resource.group == GROUP
        )

    def _asked(self, sort: str) -> Webhooks:
        from fairlead.apiserver.dynamic.webhooks import Webhooks

        if sort == "mutating":
            self._mutating = self._mutating or Webhooks(self._api, "mutating", self._to_service)
            return self._mutating
        self._validating = self._validating or Webhooks(self._api, "validating", self._to_service)
        return self._validating
