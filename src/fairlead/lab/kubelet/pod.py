"""The part of a Pod that a kubelet acts upon, typed: decoded once per change and never written back.

Field names are those of core/v1; what is absent on the wire has the value that the API server defaults it to.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Json: TypeAlias = dict[str, Any]
Port: TypeAlias = int | str
"""A number, or the name of one of the container's ports."""


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A decoded part of an object."""


class ObjectReference(_Wire, frozen=True):
    """ConfigMapEnvSource, SecretEnvSource and the like."""

    name: str = ""
    optional: bool | None = None


class KeyReference(_Wire, frozen=True):
    """ConfigMapKeySelector, SecretKeySelector."""

    name: str = ""
    key: str = ""
    optional: bool | None = None


class FieldReference(_Wire, frozen=True):
    """ObjectFieldSelector."""

    field_path: str


class ResourceReference(_Wire, frozen=True):
    """ResourceFieldSelector."""

    resource: str
    container_name: str = ""
    divisor: str | int | None = None


class EnvSource(_Wire, frozen=True):
    """EnvVarSource: exactly one field is set."""

    field_ref: FieldReference | None = None
    resource_field_ref: ResourceReference | None = None
    config_map_key_ref: KeyReference | None = None
    secret_key_ref: KeyReference | None = None


class EnvVar(_Wire, frozen=True):
    """One entry of `env`."""

    name: str
    value: str | None = None
    value_from: EnvSource | None = None


class EnvFrom(_Wire, frozen=True):
    """One entry of `envFrom`."""

    prefix: str | None = None
    config_map_ref: ObjectReference | None = None
    secret_ref: ObjectReference | None = None


class ContainerPort(_Wire, frozen=True):
    """One declared port."""

    container_port: int
    name: str | None = None
    protocol: str = "TCP"
    host_port: int | None = None
    host_ip: str | None = msgspec.field(default=None, name="hostIP")


class ExecAction(_Wire, frozen=True):
    """Run a command inside the container."""

    command: tuple[str, ...] = ()


class HttpHeader(_Wire, frozen=True):
    """One header of a request."""

    name: str
    value: str


class HttpAction(_Wire, frozen=True):
    """Send a GET request."""

    port: Port
    path: str | None = None
    host: str | None = None
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] | None = None


class TcpAction(_Wire, frozen=True):
    """Open a TCP connection."""

    port: Port
    host: str | None = None


class GrpcAction(_Wire, frozen=True):
    """Ask grpc.health.v1.Health."""

    port: int
    service: str | None = None


class SleepAction(_Wire, frozen=True):
    """Wait, in seconds."""

    seconds: int = 0


class Handler(_Wire, frozen=True):
    """LifecycleHandler: exactly one field is set."""

    exec: ExecAction | None = None
    http_get: HttpAction | None = None
    tcp_socket: TcpAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(_Wire, frozen=True):
    """Hooks and the stop signal of a container."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None
    stop_signal: str | None = None


class Probe(_Wire, frozen=True):
    """A probe; times in seconds."""

    exec: ExecAction | None = None
    http_get: HttpAction | None = None
    tcp_socket: TcpAction | None = None
    grpc: GrpcAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class VolumeMount(_Wire, frozen=True):
    """Where a container sees a volume."""

    name: str
    mount_path: str
    sub_path: str | None = None
    sub_path_expr: str | None = None
    read_only: bool | None = None


class Resources(_Wire, frozen=True):
    """Requests and limits, as quantities."""

    requests: dict[str, str | int | float] | None = None
    limits: dict[str, str | int | float] | None = None


class SecurityContext(_Wire, frozen=True):
    """What of a container's security context has a meaning for a process that is never root."""

    run_as_user: int | None = None
    run_as_group: int | None = None


class Sysctl(_Wire, frozen=True):
    """A kernel parameter of the pod's namespaces."""

    name: str
    value: str


class PodSecurityContext(SecurityContext, frozen=True):
    """The pod's defaults and groups."""

    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] | None = None
    sysctls: tuple[Sysctl, ...] | None = None


class RestartExitCodes(_Wire, frozen=True):
    """Which exit codes a restart rule is about."""

    operator: str
    values: tuple[int, ...] = ()


class RestartRule(_Wire, frozen=True):
    """ContainerRestartRule: restart on these exit codes whatever the policy says."""

    action: str
    exit_codes: RestartExitCodes | None = None


class Container(_Wire, frozen=True):
    """An init, sidecar, ordinary or ephemeral container."""

    name: str
    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    working_dir: str | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFrom, ...] | None = None
    ports: tuple[ContainerPort, ...] | None = None
    volume_mounts: tuple[VolumeMount, ...] | None = None
    resources: Resources | None = None
    lifecycle: Lifecycle | None = None
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    security_context: SecurityContext | None = None
    restart_policy: str | None = None
    restart_policy_rules: tuple[RestartRule, ...] | None = None
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    tty: bool | None = None
    stdin: bool | None = None
    stdin_once: bool | None = None

    @property
    def probed(self) -> bool:
        """Tell whether any probe is declared."""
        return bool(self.startup_probe or self.readiness_probe or self.liveness_probe)

    def port_number(self, port: Port) -> int | None:
        """Return the number of `port`, which may be a declared name; None where it is not declared."""
        if isinstance(port, int):
            return port
        for declared in self.ports or ():
            if declared.name == port:
                return declared.container_port
        return int(port) if port.isdecimal() else None


class HostAlias(_Wire, frozen=True):
    """Additional lines of the hosts file."""

    ip: str
    hostnames: tuple[str, ...] | None = None


class DnsOption(_Wire, frozen=True):
    """One option of resolv.conf."""

    name: str
    value: str | None = None


class DnsConfig(_Wire, frozen=True):
    """PodDNSConfig."""

    nameservers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[DnsOption, ...] | None = None


class ReadinessGate(_Wire, frozen=True):
    """A condition that the pod's Ready waits for."""

    condition_type: str


class PodSpec(_Wire, frozen=True):
    """spec."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    ephemeral_containers: tuple[Container, ...] | None = None
    volumes: tuple[Json, ...] | None = None
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    termination_grace_period_seconds: int | None = 30
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig | None = None
    node_name: str | None = None
    service_account_name: str | None = None
    host_network: bool | None = None
    share_process_namespace: bool | None = None
    security_context: PodSecurityContext | None = None
    hostname: str | None = None
    subdomain: str | None = None
    set_hostname_as_fqdn: bool | None = msgspec.field(default=None, name="setHostnameAsFQDN")
    host_aliases: tuple[HostAlias, ...] | None = None
    readiness_gates: tuple[ReadinessGate, ...] | None = None
    enable_service_links: bool | None = True


class OwnerReference(_Wire, frozen=True):
    """An owner of the pod."""

    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Metadata(_Wire, frozen=True):
    """metadata."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class Pod(_Wire, frozen=True):
    """A pod bound to this node."""

    metadata: Metadata
    spec: PodSpec
    status: Json | None = None

    @property
    def uid(self) -> str:
        """Return metadata.uid."""
        return self.metadata.uid

    @property
    def ref(self) -> str:
        """Return `namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def full_name(self) -> str:
        """Return `name_namespace(uid)`, the form that kubelet messages use."""
        return f"{self.metadata.name}_{self.metadata.namespace}({self.metadata.uid})"

    @property
    def host_network(self) -> bool:
        """Tell whether the pod shares the node's network namespace."""
        return bool(self.spec.host_network)

    @property
    def init(self) -> tuple[Container, ...]:
        """Return the init containers, sidecars among them, in order."""
        return self.spec.init_containers or ()

    @property
    def ephemeral(self) -> tuple[Container, ...]:
        """Return the ephemeral containers."""
        return self.spec.ephemeral_containers or ()

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Return every container, in the order in which they start."""
        return (*self.init, *self.spec.containers, *self.ephemeral)

    @property
    def job(self) -> bool:
        """Tell whether a Job owns the pod: then its containers are expected to end."""
        return any(owner.kind == "Job" for owner in self.metadata.owner_references or ())

    @property
    def grace_s(self) -> int:
        """Return the seconds that containers have between SIGTERM and SIGKILL: the deletion's, or the spec's."""
        asked = self.metadata.deletion_grace_period_seconds
        if asked is None or self.metadata.deletion_timestamp is None:
            asked = self.spec.termination_grace_period_seconds
        # As upstream, zero is one second: the process at least sees SIGTERM.
        return max(1, 30 if asked is None else asked)

    def container(self, name: str) -> Container | None:
        """Return the container called `name`."""
        return next((container for container in self.all_containers if container.name == name), None)

    def is_sidecar(self, container: Container) -> bool:
        """Tell whether `container` is an init container that keeps running."""
        return container.restart_policy == "Always" and any(container is other for other in self.init)


def decode(obj: Json) -> Pod:
    """Return the pod in a wire object; raises msgspec.ValidationError naming the field that has a wrong type."""
    return msgspec.convert(obj, Pod)
