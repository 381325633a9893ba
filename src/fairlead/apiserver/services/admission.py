"""Gives Services their cluster addresses and node ports when they are written, and takes them back when they go.

Reservations are made in memory at once and undone if the write fails, so that two requests at the same time never get the same number.
The pools are rebuilt from the stored Services at start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fairlead.apiserver.admission.chain import Attributes
from fairlead.apiserver.errors import StatusError, internal, invalid
from fairlead.apiserver.served import Served
from fairlead.apiserver.services import families
from fairlead.apiserver.services.pools import AddressPool, Full, PoolError, PortPool
from fairlead.apiserver.store.records import encode

Json = dict[str, Any]


class ServiceAddresses:
    """The pools of one cluster; its methods are admission functions. `cidrs` are one per family, the default family first."""

    def __init__(self, cidrs: Sequence[str], node_ports: tuple[int, int]) -> None:
        pools = [AddressPool(cidr) for cidr in cidrs]
        self._addresses = {pool.family: pool for pool in pools}
        self._families = [pool.family for pool in pools]
        self._ports = PortPool(*node_ports)

    def __repr__(self) -> str:
        return f"<ServiceAddresses {list(self._addresses.values())} {self._ports}>"

    @property
    def first_addresses(self) -> dict[str, str]:
        """The first address of each family: that of the Service default/kubernetes."""
        return {family: str(pool.network[1]) for family, pool in self._addresses.items()}

    def rebuild(self, services: Iterable[Json]) -> None:
        """Take what stored Services hold; what two of them hold stays with both."""
        for service in services:
            for address in _addresses(service):
                self._try(self._pool(address).take, address)
            for port in _ports(service):
                self._try(self._ports.take, port)

    def complete(self, attributes: Attributes) -> None:
        """Mutating: make the fields of addresses agree and drop those of a former type."""
        if attributes.served.table != "services" or attributes.subresource or attributes.operation == "DELETE":
            return
        spec = attributes.obj.setdefault("spec", {})
        before = attributes.old.get("spec") or {} if attributes.old else None
        if before is not None:
            families.drop_of_other_type(spec, before)
        families.normalize(spec, before)

    def allocate(self, attributes: Attributes) -> None:
        """Allocating: settle families, reserve addresses and ports; raises 422 and 500 in the real server's words."""
        if attributes.served.table != "services" or attributes.subresource or attributes.operation == "DELETE":
            return
        spec = attributes.obj["spec"]
        before = attributes.old.get("spec") or {} if attributes.old else None
        problem = families.settle(spec, before, self._families)
        if problem is not None:
            field, _, message = problem.partition(": ")
            raise invalid("Service", "", attributes.name, [(field, "FieldValueInvalid", message)])
        self._allocate_addresses(attributes, spec)
        self._allocate_ports(attributes, spec)
        if attributes.old is not None:
            gone_addresses = set(_addresses(attributes.old)) - set(_addresses(attributes.obj))
            gone_ports = set(_ports(attributes.old)) - set(_ports(attributes.obj))
            attributes.on_success.append(lambda: self._free(gone_addresses, gone_ports))

    def release(self, served: Served, service: Json) -> None:
        """Releasing: take back what a deleted Service held."""
        if served.table == "services":
            self._free(set(_addresses(service)), set(_ports(service)))

    def _allocate_addresses(self, attributes: Attributes, spec: Json) -> None:
        if not families.has_cluster_ip(spec):
            if families.is_headless(spec):
                spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return
        held = set(_addresses(attributes.old)) if attributes.old else set()
        wanted: list[str] = list(spec.get("clusterIPs") or ())
        given: list[str] = []
        for position, family in enumerate(spec["ipFamilies"]):
            pool = self._addresses[family]
            address = wanted[position] if position < len(wanted) else ""
            if address in held and address:
                given.append(address)
                continue
            try:
                if address:
                    pool.take(address)
                else:
                    address = pool.choose()
            except Full as error:
                raise internal(f"failed to allocate a serviceIP: {error}") from None
            except PoolError as error:
                shown = encode(wanted).decode()
                message = f"Invalid value: {shown}: failed to allocate IP {address}: {error}"
                raise _refused(attributes, "spec.clusterIPs", message) from None
            attributes.on_failure.append(lambda pool=pool, address=address: pool.free(address))  # type: ignore[misc]
            given.append(address)
        spec["clusterIP"], spec["clusterIPs"] = given[0], given

    def _allocate_ports(self, attributes: Attributes, spec: Json) -> None:
        held = set(_ports(attributes.old)) if attributes.old else set()
        mine: dict[int, set[str]] = {}
        ports: list[Json] = spec.get("ports") or []
        wants = families.needs_node_ports(spec)
        for position, port in enumerate(ports):
            number = port.get("nodePort")
            if number:
                field = f"spec.ports[{position}].nodePort"
                self._take_port(attributes, number, field, held, mine, port.get("protocol", "TCP"))
        if wants:
            for port in ports:
                if not port.get("nodePort"):
                    port["nodePort"] = self._choose_port(attributes, port, mine, ports)
        if families.needs_health_port(spec):
            number = spec.get("healthCheckNodePort")
            if number:
                self._take_port(attributes, number, "spec.healthCheckNodePort", held, mine, "health")
            else:
                spec["healthCheckNodePort"] = self._choose_port(attributes, {"protocol": "health"}, mine, [])

    def _take_port(
        self, attributes: Attributes, number: int, field: str, held: set[int], mine: dict[int, set[str]], protocol: str
    ) -> None:
        protocols = mine.setdefault(number, set())
        if (number in held or protocols) and protocol not in protocols:
            # One Service may use a port number once per protocol.
            protocols.add(protocol)
            return
        try:
            self._ports.take(number)
        except PoolError as error:
            raise _refused(attributes, field, f"Invalid value: {number}: {error}") from None
        protocols.add(protocol)
        attributes.on_failure.append(lambda: self._ports.free(number))

    def _choose_port(self, attributes: Attributes, port: Json, mine: dict[int, set[str]], ports: list[Json]) -> int:
        protocol = port.get("protocol", "TCP")
        for other in ports:
            number = other.get("nodePort")
            if number and other.get("port") == port.get("port") and protocol not in mine.get(number, set()):
                mine[number].add(protocol)
                return int(number)
        try:
            number = self._ports.choose()
        except Full as error:
            raise internal(f"failed to allocate a nodePort: {error}") from None
        mine[number] = {protocol}
        attributes.on_failure.append(lambda: self._ports.free(number))
        return number

    def _free(self, addresses: set[str], ports: set[int]) -> None:
        for address in addresses:
            self._pool(address).free(address)
        for port in ports:
            self._ports.free(port)

    def _pool(self, address: str) -> AddressPool:
        return self._addresses.get(families.family_of(address)) or next(iter(self._addresses.values()))

    @staticmethod
    def _try(take: Any, number: Any) -> None:
        try:
            take(number)
        except PoolError:
            # Stored by an earlier server with other ranges, or twice: it stays as it is.
            return


def _addresses(service: Json) -> list[str]:
    spec = service.get("spec") or {}
    return [ip for ip in spec.get("clusterIPs") or () if ip and ip != "None"]


def _ports(service: Json) -> list[int]:
    spec = service.get("spec") or {}
    found = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    return found + ([spec["healthCheckNodePort"]] if spec.get("healthCheckNodePort") else [])


def _refused(attributes: Attributes, field: str, message: str) -> StatusError:
    return invalid("Service", "", attributes.name, [(field, "FieldValueInvalid", message)])
