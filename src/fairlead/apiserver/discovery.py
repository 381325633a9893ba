"""Discovery: which groups, versions and resources are served, in the legacy and in the aggregated form.

Source: KEP-3352 (aggregated discovery). Documents are built once per state of the catalog and carry an ETag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from aiohttp import web

from fairlead.apiserver.api import Json
from fairlead.apiserver.errors import no_such_path, not_acceptable
from fairlead.apiserver.http import answers
from fairlead.apiserver.http.negotiation import OFFERED, media_ranges
from fairlead.apiserver.served import Catalog, Served
from fairlead.apiserver.store.records import encode
from fairlead.apiserver.verbs.reviews import REVIEWS

_AGGREGATED = "APIGroupDiscoveryList"
_SUBRESOURCE_VERBS = {
    "status": ("get", "patch", "update"),
    "scale": ("get", "patch", "update"),
    "ephemeralcontainers": ("get", "patch", "update"),
    "resize": ("get", "patch", "update"),
    "approval": ("get", "patch", "update"),
    "finalize": ("update",),
    "binding": ("create",),
    "eviction": ("create",),
    "token": ("create",),
    "log": ("get",),
    "exec": ("create", "get"),
    "attach": ("create", "get"),
    "portforward": ("create", "get"),
    "proxy": ("create", "delete", "get", "patch", "update"),
}
_SUBRESOURCE_KINDS: dict[tuple[str, str], tuple[str, str, str]] = {
    ("", "scale"): ("autoscaling", "v1", "Scale"),
    ("", "binding"): ("", "v1", "Binding"),
    ("", "eviction"): ("policy", "v1", "Eviction"),
    ("", "token"): ("authentication.k8s.io", "v1", "TokenRequest"),
    ("pods", "exec"): ("", "v1", "PodExecOptions"),
    ("pods", "attach"): ("", "v1", "PodAttachOptions"),
    ("pods", "portforward"): ("", "v1", "PodPortForwardOptions"),
    ("pods", "proxy"): ("", "v1", "PodProxyOptions"),
    ("services", "proxy"): ("", "v1", "ServiceProxyOptions"),
    ("nodes", "proxy"): ("", "v1", "NodeProxyOptions"),
}
_GROUP_ORDER = ("apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch")


class Discovery:
    """Answers /api, /apis, /api/VERSION, /apis/GROUP and /apis/GROUP/VERSION."""

    def __init__(self, catalog: Catalog, address: str) -> None:
        self._catalog = catalog
        self._address = address
        self._generation = -1
        self._documents: dict[tuple[str, str], tuple[bytes, str]] = {}

    def handle(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        """Return the document at the path of `parts`; raises 404 and 406."""
        form, version = _form(request.headers.get("Accept", ""), aggregated=len(parts) == 1)
        content, etag = self._document("/".join(parts), version)
        if form == "aggregated":
            headers = {"ETag": f'"{etag}"', "Vary": "Accept"}
            if request.headers.get("If-None-Match", "").strip('"') == etag:
                return web.Response(status=304, headers=headers)
            response = answers.of_bytes(content, headers=headers)
            response.headers["Content-Type"] = f"application/json;g=apidiscovery.k8s.io;v={version};as={_AGGREGATED}"
            return response
        return answers.of_bytes(content)

    def _document(self, path: str, version: str) -> tuple[bytes, str]:
        if self._generation != self._catalog.generation:
            self._documents.clear()
            self._generation = self._catalog.generation
        found = self._documents.get((path, version))
        if found is None:
            content = encode(self._aggregated(path, version) if version else self._legacy(path.split("/")))
            etag = hashlib.sha256(content).hexdigest().upper()
            found = self._documents[path, version] = (content, etag)
        return found

    # The legacy form.

    def _legacy(self, parts: list[str]) -> Json:
        match parts:
            case ["api"]:
                clients = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": clients}
            case ["apis"]:
                return {
                    "kind": "APIGroupList",
                    "apiVersion": "v1",
                    "groups": [self._group(g) for g in self._groups() if g],
                }
            case ["apis", group] if group in self._groups():
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["api", version] if version == "v1":
                return self._resource_list("", version)
            case ["apis", group, version] if version in self._versions(group):
                return self._resource_list(group, version)
            case _:
                raise no_such_path()

    def _group(self, group: str) -> Json:
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in self._versions(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str) -> Json:
        resources: list[Json] = []
        for served in self._served(group, version):
            resource, kind = served.resource, served.kind
            found: Json = {
                "name": resource.plural,
                "singularName": kind.singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": list(kind.verbs),
            }
            if kind.short_names:
                found["shortNames"] = list(kind.short_names)
            if kind.categories:
                found["categories"] = list(kind.categories)
            resources.append(found)
            for sub in sorted(kind.subresources):
                below, below_version, below_kind = _subresource_kind(served, sub)
                entry: Json = {
                    "name": f"{resource.plural}/{sub}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": below_kind,
                    "verbs": list(_SUBRESOURCE_VERBS.get(sub, ("get",))),
                }
                if (below, below_version) != (group, version):
                    entry |= {"group": below, "version": below_version}
                resources.append(entry)
        for (review_group, plural), review in REVIEWS.items():
            if (review_group, review.version) == (group, version):
                resources.append(
                    {
                        "name": plural,
                        "singularName": review.kind.lower(),
                        "namespaced": review.namespaced,
                        "kind": review.kind,
                        "verbs": ["create"],
                    }
                )
        resources.sort(key=lambda one: one["name"])
        group_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}

    # The aggregated form.

    def _aggregated(self, path: str, version: str) -> Json:
        groups = [""] if path == "api" else [group for group in self._groups() if group]
        items = [
            {
                "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
                "versions": [
                    {"version": one, "resources": self._aggregated_resources(group, one), "freshness": "Current"}
                    for one in self._versions(group)
                ],
            }
            for group in groups
        ]
        return {"kind": _AGGREGATED, "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}, "items": items}

    def _aggregated_resources(self, group: str, version: str) -> list[Json]:
        found: list[Json] = []
        for served in self._served(group, version):
            resource, kind = served.resource, served.kind
            entry: Json = {
                "resource": resource.plural,
                "responseKind": {"group": group, "version": version, "kind": resource.kind},
                "scope": "Namespaced" if resource.namespaced else "Cluster",
                "singularResource": kind.singular,
                "verbs": list(kind.verbs),
            }
            if kind.short_names:
                entry["shortNames"] = list(kind.short_names)
            if kind.categories:
                entry["categories"] = list(kind.categories)
            if kind.subresources:
                entry["subresources"] = [
                    {
                        "subresource": sub,
                        "responseKind": dict(
                            zip(("group", "version", "kind"), _subresource_kind(served, sub), strict=True)
                        ),
                        "verbs": list(_SUBRESOURCE_VERBS.get(sub, ("get",))),
                    }
                    for sub in sorted(kind.subresources)
                ]
            found.append(entry)
        for (review_group, plural), review in REVIEWS.items():
            if (review_group, review.version) == (group, version):
                found.append(
                    {
                        "resource": plural,
                        "responseKind": {"group": group, "version": version, "kind": review.kind},
                        "scope": "Namespaced" if review.namespaced else "Cluster",
                        "singularResource": review.kind.lower(),
                        "verbs": ["create"],
                    }
                )
        return sorted(found, key=lambda one: str(one["resource"]))

    # The catalog.

    def _served(self, group: str, version: str) -> Iterator[Served]:
        return (one for one in self._catalog if (one.resource.group, one.resource.version) == (group, version))

    def _groups(self) -> list[str]:
        found = dict.fromkeys([one.resource.group for one in self._catalog] + [group for group, _ in REVIEWS])
        rank = {group: position for position, group in enumerate(_GROUP_ORDER)}
        return sorted(found, key=lambda group: rank.get(group, len(rank)))

    def _versions(self, group: str) -> list[str]:
        found = [one.resource.version for one in self._catalog if one.resource.group == group]
        found += [review.version for (one, _), review in REVIEWS.items() if one == group]
        return sorted(dict.fromkeys(found), key=version_rank)


def _subresource_kind(served: Served, sub: str) -> tuple[str, str, str]:
    resource = served.resource
    return (
        _SUBRESOURCE_KINDS.get((resource.plural, sub))
        or _SUBRESOURCE_KINDS.get(("", sub))
        or (resource.group, resource.version, resource.kind)
    )


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Return the sort key of a version: stable before beta before alpha, newer first, other names last."""
    text = version.removeprefix("v")
    for stability, word in enumerate(("", "beta", "alpha")):
        major, _, minor = text.partition(word) if word else (text, "", "0")
        if major.isdigit() and minor.isdigit():
            return (stability, -int(major), -int(minor), "")
    return (3, 0, 0, version)


def _form(accept: str, *, aggregated: bool) -> tuple[str, str]:
    """Return which form the client prefers and, for the aggregated one, its version."""
    ranges = media_ranges(accept)
    for media, parameters in ranges:
        if media in ("*/*", "application/*"):
            return "legacy", ""
        if media == "application/json":
            if "as" not in parameters:
                return "legacy", ""
            wanted = parameters.get("g") == "apidiscovery.k8s.io" and parameters["as"] == _AGGREGATED
            if aggregated and wanted and parameters.get("v") in ("v2", "v2beta1"):
                return "aggregated", parameters["v"]
    if ranges:
        raise not_acceptable(OFFERED)
    return "legacy", ""
