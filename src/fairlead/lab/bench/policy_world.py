"""A cluster with policies as large as is asked for, and the changes that a benchmark makes to it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fairlead.api.decode import ApiObject, decode
from fairlead.base.diagnostics import Diagnostic
from fairlead.world.attachment import Attachment
from fairlead.world.events import AttachmentChanged, Event, KindReplaced, ObjectChanged, ObjectKey
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

NODE = "node-0"
_NAMESPACES = 100
_APPS = 20
_TEAMS = 5
_GENERAL = 3
"""So many policies of each namespace govern all of its pods, the others those of one app."""
_PORT = 8080


class World:
    """`pods` in a hundred namespaces, of which the first of each are on this node; `policies` of the form "from one app, and one team"."""

    def __init__(self, *, pods: int, policies: int, local: int) -> None:
        self.pods, self.policies, self.local = pods, policies, local

    def __repr__(self) -> str:
        return f"<World pods={self.pods} policies={self.policies} local={self.local}>"

    def snapshot(self) -> Snapshot:
        """Return the whole world as this node knows it."""
        namespaces = {("", _namespace(n)): _namespace_object(n) for n in range(_NAMESPACES)}
        pods = dict(self.pod(number) for number in range(self.pods))
        policies = dict(self.policy(number) for number in range(self.policies))
        events: list[Event] = [
            KindReplaced("Namespace", namespaces),
            KindReplaced("Pod", pods),
            KindReplaced("NetworkPolicy", policies),
            *self._attachments(),
        ]
        return fold(Snapshot(settings=Settings(node=NODE)), events)

    def pod(self, number: int, *, app: int | None = None) -> tuple[ObjectKey, ApiObject | Diagnostic]:
        """Return a pod; `app` gives it another label."""
        namespace, name = _namespace(number), f"pod-{number}"
        labels = {"app": f"app-{(number // _NAMESPACES + number if app is None else app) % _APPS}", "pod": name}
        wire = {
            "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": labels},
            "spec": {"nodeName": NODE if number < self.local else "elsewhere"},
            "status": {"phase": "Running", "podIPs": [{"ip": each} for each in addresses(number)]},
        }
        return (namespace, name), decode("Pod", wire)

    def policy(self, number: int, *, port: int = _PORT) -> tuple[ObjectKey, ApiObject | Diagnostic]:
        """Return a policy; `port` makes another version of it."""
        namespace, name = _namespace(number), f"policy-{number}"
        app = number // _NAMESPACES
        selector = {"matchLabels": {"app": f"app-{app % _APPS}"}} if app >= _GENERAL else {}
        peers = [
            {"podSelector": {"matchLabels": {"app": f"app-{(app + 1) % _APPS}"}}},
            {
                "namespaceSelector": {"matchLabels": {"team": f"team-{number % _TEAMS}"}},
                "podSelector": {"matchLabels": {"app": f"app-{(app + 2) % _APPS}"}},
            },
        ]
        spec = {
            "podSelector": selector,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"protocol": "TCP", "port": port}]}],
        }
        return (namespace, name), decode(
            "NetworkPolicy", {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
        )

    def _attachments(self) -> Iterator[AttachmentChanged]:
        for number in range(self.local):
            attachment = Attachment(
                container_id=f"c{number}",
                ifname="eth0",
                netns="",
                host_ifname=interface(number),
                mac="",
                addresses=addresses(number),
                pod_namespace=_namespace(number),
                pod_name=f"pod-{number}",
            )
            yield AttachmentChanged(attachment.key, attachment)


def interface(number: int) -> str:
    """Return the node's interface of a pod of this node."""
    return f"fl{number:012x}"


def addresses(number: int) -> tuple[str, str]:
    """Return the addresses of a pod; there are as many as an IPv6 group has values."""
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", f"fd10:244::{number + 1:x}"


def changed(kind: str, item: tuple[ObjectKey, ApiObject | Diagnostic]) -> ObjectChanged:
    """Return the event that an object is now like this."""
    return ObjectChanged(kind, *item)


def _namespace(number: int) -> str:
    return f"ns-{number % _NAMESPACES}"


def _namespace_object(number: int) -> ApiObject | Diagnostic:
    labels: Mapping[str, str] = {"team": f"team-{number % _TEAMS}"}
    return decode("Namespace", {"metadata": {"name": _namespace(number), "labels": labels}})
