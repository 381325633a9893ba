"""Which flows someone wants to see. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.observe.flows import Flow, FlowEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a flow must be; an empty field means anything."""

    source: str = ""
    """A place: `pod/NAMESPACE/NAME`, `ns/NAMESPACE`, `node/NAME` or an address."""
    destination: str = ""
    either: str = ""
    """A place that is the source or the destination."""
    verdict: str = ""
    protocol: str = ""
    port: int = 0
    """Of the destination."""
    policy: str = ""
    """Part of the name of a rule that decided."""

    def matches(self, flow: Flow) -> bool:
        """Tell whether a flow is wanted."""
        return (
            self.verdict in ("", flow.verdict)
            and self.protocol in ("", flow.protocol)
            and self.port in (0, flow.destination.port)
            and is_at(flow.source, self.source)
            and is_at(flow.destination, self.destination)
            and (is_at(flow.source, self.either) or is_at(flow.destination, self.either))
            and (not self.policy or any(self.policy in rule for rule in flow.rules))
        )


def is_at(end: FlowEnd, place: str) -> bool:
    """Tell whether an end of a flow is at a place; everything is at the empty one."""
    kind, _, name = place.partition("/")
    match kind:
        case "":
            return True
        case "pod":
            return name == f"{end.namespace}/{end.pod}"
        case "ns":
            return name == end.namespace and bool(end.pod)
        case "node":
            return name == end.node
        case _:
            return place == end.address


def is_place(text: str) -> bool:
    """Tell whether a text has the form of a place."""
    kind, slash, name = text.partition("/")
    if not slash:
        return "." in kind or ":" in kind
    return {"pod": name.count("/") == 1, "ns": "/" not in name, "node": "/" not in name}.get(kind, False)
