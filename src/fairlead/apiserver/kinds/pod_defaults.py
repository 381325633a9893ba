"""Defaults of pods and pod templates.

Source: kube-apiserver core/v1 defaults (SetDefaults_Pod, _PodSpec, _Container, _Probe, _Volume and their like).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]

_DEFAULT_MODE = 0o644
CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def default_pod(obj: dict[str, Any]) -> None:
    """Fill in a Pod: its spec, then what only real pods get (requests from limits, host ports, service links)."""
    spec = obj["spec"]
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for name in ("initContainers", "containers"):
        for container in spec.get(name) or ():
            if spec.get("hostNetwork"):
                for port in container.get("ports", ()):
                    if not port.get("hostPort") and port.get("containerPort"):
                        port["hostPort"] = port["containerPort"]
            _requests_from_limits(container.get("resources", {}))


def _requests_from_limits(resources: Spec) -> None:
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def default_pod_template(template: dict[str, Any]) -> None:
    """Fill in the template of a workload."""
    default_pod_spec(template["spec"])


def default_pod_spec(spec: Spec) -> None:
    """Fill in the fields that pods and templates share."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in containers(spec):
        _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)


def containers(spec: Spec) -> Iterator[Spec]:
    """Yield every container of a pod spec, init and ephemeral ones included."""
    for name in CONTAINER_LISTS:
        yield from spec.get(name) or ()


def _container(container: Spec) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", "Always" if _is_latest(container.get("image", "")) else "IfNotPresent")
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", ()):
        source = variable.get("valueFrom") or {}
        _field_source(source)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _probe(probe)
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and (get := hook.get("httpGet")):
            _http_get(get)


def _is_latest(image: str) -> bool:
    if not image or "@" in image:
        return False
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return not colon or tag == "latest"


def _probe(probe: Spec) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe.setdefault(name, value)
    if get := probe.get("httpGet"):
        _http_get(get)
    if (grpc := probe.get("grpc")) is not None:
        grpc.setdefault("service", "")


def _http_get(get: Spec) -> None:
    get.setdefault("path", "/")
    get.setdefault("scheme", "HTTP")


def _field_source(source: Spec) -> None:
    if (field := source.get("fieldRef")) is not None:
        field.setdefault("apiVersion", "v1")
    if (resource := source.get("resourceFieldRef")) is not None:
        resource.setdefault("divisor", "0")


def _volume(volume: Spec) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for kind in ("secret", "configMap", "downwardAPI", "projected"):
        if (source := volume.get(kind)) is not None:
            source.setdefault("defaultMode", _DEFAULT_MODE)
    if (path := volume.get("hostPath")) is not None:
        path.setdefault("type", "")
    for item in (volume.get("downwardAPI") or {}).get("items", ()):
        _field_source(item)
    for source in (volume.get("projected") or {}).get("sources") or ():
        if (token := source.get("serviceAccountToken")) is not None:
            token.setdefault("expirationSeconds", 3600)
        for item in (source.get("downwardAPI") or {}).get("items", ()):
            _field_source(item)
    if (claim := volume.get("ephemeral")) is not None:
        claim.get("volumeClaimTemplate", {}).get("spec", {}).setdefault("volumeMode", "Filesystem")
    if (iscsi := volume.get("iscsi")) is not None:
        iscsi.setdefault("iscsiInterface", "default")
