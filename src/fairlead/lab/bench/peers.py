"""Rulesets in the shapes that kube-proxy's nftables mode programs, as text for nft(8): the peers of our benchmark.

Shapes are of kube-proxy 1.36 (one chain and one rule for each service) and of 1.31 to 1.35 (a chain for each service and for each
endpoint). What costs a packet time, or time with the number of services, is there. It must never be loaded where real traffic runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fairlead.plan.tables import Endpoint, ServicePort

_TABLE = "ip kube-proxy"
_BASE = """
table ip kube-proxy {
  set cluster-ips { type ipv4_addr; }
  set nodeport-ips { type ipv4_addr; }
  set hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-nodeports { type inet_proto . inet_service : verdict; }
  map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
  chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
  chain masquerading {
    meta mark and 0x4000 != 0 meta mark set meta mark xor 0x4000 masquerade fully-random
    ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
  }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain cluster-ips-check { ip daddr @cluster-ips reject; }
  chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
  chain nodeport-endpoints-check { ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }
  chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
  chain filter-prerouting-pre-dnat { type filter hook prerouting priority -110; ct state new jump firewall-check; }
  chain filter-output-pre-dnat { type filter hook output priority -110; ct state new jump firewall-check; }
  chain filter-input {
    type filter hook input priority 0;
    ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check
  }
  chain filter-forward {
    type filter hook forward priority 0;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority 0;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
}
"""

_OFF_CLUSTER = (
    f"insert rule {_TABLE} services ip daddr @cluster-ips ip saddr != 10.0.0.0/8 meta mark set meta mark or 0x4000"
)
"""Once for all services since 1.36; before, each service had its own."""


class Peer(Protocol):
    """One shape."""

    name: str

    def load(self, services: Sequence[ServicePort]) -> str:
        """Return the text that loads all services into an empty namespace."""

    def change(self, number: int, service: ServicePort) -> str:
        """Return the text that is sent when an endpoint of the service with this number changed to what `service` says."""


class OneChainPerService:
    """kube-proxy 1.36 and later."""

    name = "kube-proxy 1.36 shape"

    def load(self, services: Sequence[ServicePort]) -> str:
        """Return chains, rules and elements of all services."""
        lines = [_BASE, _OFF_CLUSTER, *(f"add chain {_TABLE} {_chain(number)}" for number in range(len(services)))]
        lines += [self._rule(number, each) for number, each in enumerate(services)]
        lines += [
            *_service_elements(services),
            _elements("hairpin-connections", [_hairpins(each) for each in services]),
        ]
        return "\n".join(lines)

    def change(self, number: int, service: ServicePort) -> str:
        """Return the service's chain anew, and the new endpoint's hairpin element."""
        return "\n".join(
            (
                f"flush chain {_TABLE} {_chain(number)}",
                self._rule(number, service),
                _elements("hairpin-connections", [_hairpins(service)]),
            )
        )

    def _rule(self, number: int, service: ServicePort) -> str:
        targets = ", ".join(f"{place} : {each.address} . {each.port}" for place, each in enumerate(service.endpoints))
        count = len(service.endpoints)
        return (
            f"add rule {_TABLE} {_chain(number)} meta l4proto {service.protocol} "
            f"dnat ip addr . port to numgen random mod {count} map {{ {targets} }}"
        )


class ChainPerEndpoint:
    """kube-proxy 1.31 to 1.35."""

    name = "kube-proxy 1.33 shape"

    def load(self, services: Sequence[ServicePort]) -> str:
        """Return chains, rules and elements of all services."""
        lines = [_BASE]
        for number, service in enumerate(services):
            lines.append(f"add chain {_TABLE} {_chain(number)}")
            lines += [f"add chain {_TABLE} {_endpoint_chain(number, each)}" for each in service.endpoints]
        for number, service in enumerate(services):
            lines += self._rules(number, service)
        return "\n".join((*lines, *_service_elements(services)))

    def change(self, number: int, service: ServicePort) -> str:
        """Return the chains of the service and of its endpoints anew."""
        chains = [_endpoint_chain(number, each) for each in service.endpoints]
        lines = [f"add chain {_TABLE} {each}" for each in chains]
        lines += [f"flush chain {_TABLE} {each}" for each in (_chain(number), *chains)]
        return "\n".join((*lines, *self._rules(number, service)))

    def _rules(self, number: int, service: ServicePort) -> list[str]:
        chain, count = _chain(number), len(service.endpoints)
        targets = ", ".join(
            f"{place} : goto {_endpoint_chain(number, each)}" for place, each in enumerate(service.endpoints)
        )
        lines = [
            f"add rule {_TABLE} {chain} ip daddr {service.address} {service.protocol} dport {service.port} "
            "ip saddr != 10.0.0.0/8 jump mark-for-masquerade",
            f"add rule {_TABLE} {chain} numgen random mod {count} vmap {{ {targets} }}",
        ]
        for each in service.endpoints:
            name = _endpoint_chain(number, each)
            lines.append(f"add rule {_TABLE} {name} ip saddr {each.address} jump mark-for-masquerade")
            lines.append(f"add rule {_TABLE} {name} meta l4proto {service.protocol} dnat to {each.address}:{each.port}")
        return lines


def _chain(number: int) -> str:
    return f"service-{number:08X}-ns/svc-{number}/tcp/http"


def _endpoint_chain(number: int, endpoint: Endpoint) -> str:
    return f"endpoint-{number:08X}-ns/svc-{number}/tcp/http__{endpoint.address}/{endpoint.port}"


def _service_elements(services: Sequence[ServicePort]) -> list[str]:
    ports = [
        f"{each.address} . {each.protocol} . {each.port} : goto {_chain(number)}"
        for number, each in enumerate(services)
    ]
    return [_elements("cluster-ips", [each.address for each in services]), _elements("service-ips", ports)]


def _hairpins(service: ServicePort) -> str:
    return ", ".join(
        f"{each.address} . {each.address} . {service.protocol} . {each.port}" for each in service.endpoints
    )


def _elements(name: str, found: Sequence[str]) -> str:
    return f"add element {_TABLE} {name} {{ {', '.join(found)} }}"
