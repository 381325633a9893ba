from __future__ import annotations

import pytest

from fairlead.lab.kubelet.files import Resolver, hostname, hosts, parse_resolv_conf, resolv_conf
from fairlead.lab.kubelet.pod import decode

NODE = Resolver(nameservers=("192.0.2.1",), searches=("corp.example",), options=("timeout:1",))


def pod(**spec):
    return decode({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": {"containers": [{"name": "a"}], **spec}})


CLUSTER = "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5 timeout:1\n"
DEFAULT = "search corp.example\nnameserver 192.0.2.1\noptions timeout:1\n"
CONFIG = {
    "nameservers": ["198.51.100.53"],
    "searches": ["extra.example"],
    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
}
CASES = {
    "ClusterFirst": ({}, CLUSTER),
    "ClusterFirst of a hostNetwork pod": ({"hostNetwork": True}, DEFAULT),
    "ClusterFirstWithHostNet": ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, CLUSTER),
    "Default": ({"dnsPolicy": "Default"}, DEFAULT),
    "None": (
        {"dnsPolicy": "None", "dnsConfig": CONFIG},
        "search extra.example\nnameserver 198.51.100.53\noptions ndots:2 edns0\n",
    ),
    "ClusterFirst with dnsConfig": (
        {"dnsConfig": CONFIG},
        "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example extra.example\n"
        "nameserver 10.96.0.10\nnameserver 198.51.100.53\noptions timeout:1 ndots:2 edns0\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_resolv_conf(case):
    spec, expected = CASES[case]
    assert resolv_conf(pod(**spec), cluster_dns=("10.96.0.10",), domain="cluster.local", node=NODE) == expected


def test_a_resolv_conf_reads_back():
    assert parse_resolv_conf(DEFAULT + "# comment\nsortlist x\n") == NODE


def test_hosts():
    subject = pod(subdomain="web", hostAliases=[{"ip": "192.0.2.9", "hostnames": ["a.test", "b.test"]}])
    assert hosts(subject, ("10.244.1.5", "fd10:244::5"), domain="cluster.local", node_hosts="") == (
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
        "10.244.1.5\tweb-0.web.shop.svc.cluster.local\tweb-0\n"
        "fd10:244::5\tweb-0.web.shop.svc.cluster.local\tweb-0\n"
        "\n# Entries added by HostAliases.\n192.0.2.9\ta.test\tb.test\n"
    )
    assert hosts(pod(hostNetwork=True), (), domain="d", node_hosts="127.0.0.1 x\n") == (
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1 x\n"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "web-0"),
        ({"hostname": "busy"}, "busy"),
        ({"subdomain": "web", "setHostnameAsFQDN": True}, "web-0.web.shop.svc.cluster.local"),
        ({"setHostnameAsFQDN": True}, "web-0"),
    ],
)
def test_hostname(spec, expected):
    assert hostname(pod(**spec), "cluster.local") == expected
