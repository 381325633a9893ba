"""What annotations ask for, whichever dialect says it: values and objects of the Gateway API."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from fairlead.api.backendtraffic import BackendTrafficPolicySpec
from fairlead.api.httproute import (
    CorsFilter,
    HeaderFilter,
    MirrorFilter,
    PathModifier,
    RedirectFilter,
    RouteRetry,
    RouteTimeouts,
    SessionPersistence,
)
from fairlead.api.securitypolicy import SecurityPolicySpec
from fairlead.api.trafficpolicy import TrafficPolicySpec
from fairlead.plan.gateway.identity import Fact

Secured: TypeAlias = Literal["", "never", "with-certificate", "always"]
"""When plain HTTP is redirected to HTTPS; empty: as the class does."""
Matcher: TypeAlias = Literal["", "exact", "text", "pattern", "pattern-anywhere"]
"""What a path is: a prefix of whole segments; all of it; text at the start in any case; a pattern at the start, or anywhere."""


class Remark(msgspec.Struct, frozen=True):
    """What is to be said of an annotation."""

    annotation: str
    message: str
    fix: str = ""


class Reference(msgspec.Struct, frozen=True):
    """An object that an annotation names; an empty namespace is the Ingress's own."""

    annotation: str
    namespace: str
    name: str


Mode: TypeAlias = Literal["required", "optional", "any"]
"""Whether clients have to show certificates; `optional`: one that is shown is believed, or its client is turned away."""


class ClientCertificates(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of clients' certificates."""

    authorities: Reference
    """A Secret with the CA certificates that must have issued them."""
    mode: Mode
    depth: int | None = None
    """How many authorities may stand between; None: as many as the proxy allows."""
    subject: str = ""
    """Pattern of RE2's that a part of the subject has to match."""
    told: tuple[tuple[str, Fact], ...] = ()
    """Header of backends → what it says of the certificate."""


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests for another Ingress's paths go to this one's backends: by header, else by cookie, else by weight."""

    header: str = ""
    value: str = ""
    """Empty: `always` leads here and `never` away."""
    pattern: str = ""
    cookie: str = ""
    weight: int = 0
    total: int = 100


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What an Ingress asks for beside its spec."""

    secured: Secured = ""
    secured_status: int = 308
    get_status: int = 0
    """Of redirects for GET, where it differs from that for other methods."""
    middlewares: tuple[str, ...] = ()
    """Middlewares of Traefik, each `NAMESPACE-NAME`, in their order."""
    priority: int = 0
    """Of its rules among those of one host, the highest first; 0: as long as they are."""
    ports: tuple[int, ...] = ()
    """Ports on which it is served; none: all."""
    patterns: bool = False
    """Paths are patterns that match from the start, whatever their case."""
    matcher: Matcher = ""
    """What paths of type ImplementationSpecific are."""
    target: str | None = None
    """The whole new path, with `$1` for what the path's first group matched."""
    rewrite: PathModifier | None = None
    app_root: str = ""
    passthrough: bool = False
    """TLS of its hosts goes to their backends as it is."""
    with_www: bool = False
    """The host with `www.` leads to the one without, or the other way round."""
    moved: tuple[str, ...] = ()
    """Hosts that lead to the first host of the rules."""
    moved_status: int = 308
    """Of redirects from one host to another."""
    redirect: RedirectFilter | None = None
    host_header: str = ""
    request: HeaderFilter | None = None
    response: HeaderFilter | None = None
    response_from: Reference | None = None
    """A ConfigMap whose headers answers have besides."""
    asked_from: Reference | None = None
    """A ConfigMap whose headers the service that decides about requests is told."""
    mirror: MirrorFilter | None = None
    cors: CorsFilter | None = None
    timeouts: RouteTimeouts | None = None
    retry: RouteRetry | None = None
    session: SessionPersistence | None = None
    protocol: str = ""
    """How backends are spoken to, whatever their Service says."""
    encrypted: bool = False
    """Whether backends are spoken to by TLS alone."""
    aliases: tuple[str, ...] = ()
    canary: Canary | None = None
    clients: ClientCertificates | None = None
    traffic: BackendTrafficPolicySpec | None = None
    """How requests are shared out among the endpoints of its Services, without targets."""
    security: SecurityPolicySpec | None = None
    """Who may ask, without targets."""
    limits: TrafficPolicySpec | None = None
    """How often and how much, without targets."""
    refusals: tuple[Remark, ...] = ()
    """What cannot be honored and would leave requests open, or meaning something else: all of the Ingress answers 500."""
    notes: tuple[Remark, ...] = ()
    """What cannot be honored, without which the Ingress serves all the same."""

    @property
    def has_patterns(self) -> bool:
        """Tell whether some of its paths are patterns."""
        return self.patterns or self.matcher not in ("", "exact")
