"""The parts that every verb works with, and one request to a resource."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.apiserver.admission.chain import Chain
from fairlead.apiserver.authn.tokens import Tokens
from fairlead.apiserver.authz.authorizer import Authorizer
from fairlead.apiserver.errors import bad_request
from fairlead.apiserver.http.info import RequestInfo
from fairlead.apiserver.identity import Identity
from fairlead.apiserver.patch.managed import Manager
from fairlead.apiserver.served import Catalog, Served
from fairlead.apiserver.store.engine import Store

Json = dict[str, Any]


@dataclass(slots=True)
class Api:
    """Store, catalog, admission and rights of one server."""

    store: Store
    catalog: Catalog
    admission: Chain
    authorizer: Authorizer
    tokens: Tokens
    ca_certificate: str = ""
    """PEM of the cluster's authority, for the ConfigMap kube-root-ca.crt."""


@dataclass(slots=True)
class Call:
    """One request to one served resource. `warnings` become Warning headers of the answer."""

    served: Served
    info: RequestInfo
    identity: Identity
    query: Mapping[str, str]
    user_agent: str = ""
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """The namespace of the object; empty for cluster scope."""
        return self.info.namespace or ""

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """The fields at an object's top that this request does not set, whatever it says of them."""
        return ("status",) if self.served.kind.has_status and not self.info.subresource else ()

    def manager(self, operation: str, subresource: str | None = None) -> Manager:
        """Return the field manager: as given, else the first word of the user agent."""
        name = self.query.get("fieldManager") or self.user_agent.partition("/")[0][:128] or "unknown"
        return Manager(
            name=name,
            operation=operation,
            api_version=self.served.resource.api_version,
            subresource=self.info.subresource if subresource is None else subresource,
        )


def dry_run_of(values: list[str]) -> bool:
    """Return whether `dryRun` asks for a trial; raises 422-like 400 for anything but All."""
    for value in values:
        if value != "All":
            raise bad_request(
                f'Invalid value: "{value}": dryRun: Unsupported value: "{value}": supported values: "All"'
            )
    return bool(values)


def timestamp(at: float | None = None) -> str:
    """Return a metav1.Time: seconds, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() if at is None else at))
