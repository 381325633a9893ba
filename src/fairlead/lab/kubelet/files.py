"""resolv.conf and the hosts file of a pod: pure text from its spec, worded as the kubelet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.lab.kubelet.pod import Pod

_MANAGED = "# Kubernetes-managed hosts file.\n"
_MANAGED_HOST = "# Kubernetes-managed hosts file (host network).\n"
_LOOPBACK = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
_MOST_SEARCHES = 32
_MOST_NAMESERVERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """The content of a resolv.conf."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> Resolver:
    """Return what a resolv.conf says; unknown lines are left out."""
    nameservers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        match words[0]:
            case "nameserver":
                nameservers.append(words[1])
            case "search":
                searches = words[1:]
            case "options":
                options += words[1:]
    return Resolver(nameservers=tuple(nameservers), searches=tuple(searches), options=tuple(options))


def resolv_conf(pod: Pod, *, cluster_dns: Sequence[str], domain: str, node: Resolver) -> str:
    """Return the pod's resolv.conf by its dnsPolicy and dnsConfig; `node` is what the node itself uses."""
    policy = pod.spec.dns_policy
    if policy == "ClusterFirst" and pod.host_network:
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        suffixes = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain)
        base = Resolver(
            nameservers=tuple(cluster_dns), searches=suffixes + node.searches, options=("ndots:5", *node.options)
        )
    elif policy == "None":
        base = Resolver()
    else:
        base = node
    nameservers, searches, options = list(base.nameservers), list(base.searches), list(base.options)
    if config := pod.spec.dns_config:
        nameservers += config.nameservers or ()
        searches += config.searches or ()
        for option in config.options or ():
            options = [other for other in options if other.partition(":")[0] != option.name]
            options.append(f"{option.name}:{option.value}" if option.value else option.name)
    lines = []
    if searches := list(dict.fromkeys(searches))[:_MOST_SEARCHES]:
        lines.append("search " + " ".join(searches))
    lines += [f"nameserver {server}" for server in list(dict.fromkeys(nameservers))[:_MOST_NAMESERVERS]]
    if options:
        lines.append("options " + " ".join(dict.fromkeys(options)))
    return "".join(f"{line}\n" for line in lines)


def hostname(pod: Pod, domain: str) -> str:
    """Return the name that the pod's UTS namespace gets: at most 63 characters unless setHostnameAsFQDN asks for more."""
    short = (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")
    if pod.spec.set_hostname_as_fqdn and (full := _fqdn(pod, domain)):
        return full[:64]
    return short


def hosts(pod: Pod, pod_ips: Sequence[str], *, domain: str, node_hosts: str) -> str:
    """Return the pod's /etc/hosts; a hostNetwork pod has the node's, `node_hosts`, under another heading."""
    aliases = "".join("\t".join((alias.ip, *(alias.hostnames or ()))) + "\n" for alias in pod.spec.host_aliases or ())
    tail = f"\n# Entries added by HostAliases.\n{aliases}" if aliases else ""
    if pod.host_network:
        return _MANAGED_HOST + node_hosts + tail
    short = (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")
    names = "\t".join(name for name in (_fqdn(pod, domain), short) if name)
    return _MANAGED + _LOOPBACK + "".join(f"{ip}\t{names}\n" for ip in pod_ips) + tail


def _fqdn(pod: Pod, domain: str) -> str:
    if not pod.spec.subdomain:
        return ""
    short = (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")
    return f"{short}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}"
