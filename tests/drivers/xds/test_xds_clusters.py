"""Clusters and retries as Envoy's messages: what is shared while they are serialized belongs to each as if it were its own."""

from __future__ import annotations

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2

from fairlead.drivers.xds import clusters, routes
from fairlead.plan.gateway.cluster import BackendTls, GatewayCluster
from fairlead.plan.gateway.route import GatewayHost, GatewayRoute, Retries, WeightedCluster
from fairlead.plan.gateway.traffic import Limits, Traffic

ROWS = (
    GatewayCluster(name="shop/web/80"),
    GatewayCluster(name="shop/web/81"),
    GatewayCluster(name="shop/calls/80", protocol="h2c"),
    GatewayCluster(name="shop/slow/80", traffic=Traffic(connect_ms=7000)),
    GatewayCluster(name="shop/few/80", traffic=Traffic(limits=Limits(connections=3))),
    GatewayCluster(name="shop/tls/80", tls=BackendTls(server_name="a.example", names=("DNS:a.example",))),
    GatewayCluster(name="shop/tls/81", tls=BackendTls(server_name="b.example", names=("DNS:b.example",))),
    GatewayCluster(name="shop/clients/53", protocol="udp"),
)


def test_clusters_have_their_own_names_and_settings() -> None:
    found = {row.name: clusters.cluster(row) for row in (*ROWS, *reversed(ROWS))}
    messages = {name: cluster_pb2.Cluster.FromString(each.body) for name, each in found.items()}
    assert {name: each.name for name, each in messages.items()} == {name: name for name in found}
    # The bytes are those of the whole message: a restarted agent finds the versions that the proxy has.
    assert all(messages[name].SerializeToString(deterministic=True) == each.body for name, each in found.items())
    for each in messages.values():
        each.ClearField("name")
    assert messages["shop/web/80"] == messages["shop/web/81"]
    assert len({each.SerializeToString(deterministic=True) for each in messages.values()}) == len(ROWS) - 1
    assert messages["shop/slow/80"].connect_timeout.seconds == 7
    assert messages["shop/few/80"].circuit_breakers.thresholds[0].max_connections.value == 3


def test_routes_have_their_own_retries() -> None:
    plain = GatewayRoute(
        path_kind="prefix", path="/", origin="HTTPRoute/shop/a/0", clusters=(WeightedCluster(cluster="shop/web/80"),)
    )
    three = msgspec.structs.replace(plain, retries=Retries(attempts=3, codes=(503,)), try_timeout_ms=2000)
    for _ in range(2):
        body, _missing = routes.host(GatewayHost(table="t", domain="a", routes=(plain, three, plain)), lambda _: None)
        (host,) = route_pb2.RouteConfiguration.FromString(body).virtual_hosts
        found = [each.route.retry_policy for each in host.routes]
        assert [each.num_retries.value for each in found] == [5, 3, 5]
        assert [each.per_try_timeout.seconds for each in found] == [0, 2, 0]
        assert [list(each.retriable_status_codes) for each in found] == [[], [503], []]
