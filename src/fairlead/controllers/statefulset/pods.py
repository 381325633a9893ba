"""The pods and claims of a StatefulSet: names, identity, storage. Pure. Source: apps/v1 StatefulSet, KEP-3335, KEP-1847."""

from __future__ import annotations

import re
from typing import Any

from fairlead.api.resources import PERSISTENTVOLUMECLAIMS, STATEFULSETS
from fairlead.controllers import ownership, revisions, templates

Json = dict[str, Any]

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
_NAME = re.compile(r"(.*)-(\d+)")


def ordinal_of(pod: Json) -> int | None:
    """Return the number at the end of the pod's name."""
    found = _NAME.fullmatch(pod["metadata"]["name"])
    return int(found.group(2)) if found else None


def parent_of(name: str) -> str | None:
    """Return the name of the StatefulSet that a pod of this name would belong to."""
    found = _NAME.fullmatch(name)
    return found.group(1) if found else None


def claim_names(owner: Json, ordinal: int) -> dict[str, str]:
    """Return claim template → name of the claim of one pod."""
    return {
        template["metadata"]["name"]: f"{template['metadata']['name']}-{owner['metadata']['name']}-{ordinal}"
        for template in owner["spec"].get("volumeClaimTemplates") or ()
    }


def pod_for(owner: Json, revision: Json, ordinal: int) -> Json:
    """Return the pod of one ordinal in one revision of the template."""
    metadata, spec = owner["metadata"], owner["spec"]
    name = f"{metadata['name']}-{ordinal}"
    pod = templates.pod_from(
        revisions.template_of(revision),
        namespace=metadata["namespace"],
        owner=ownership.reference_to(owner, STATEFULSETS),
        name=name,
        labels={POD_NAME: name, POD_INDEX: str(ordinal), revisions.HASH_LABEL: revision["metadata"]["name"]},
    )
    claims = claim_names(owner, ordinal)
    volumes = [
        *(
            {"name": template, "persistentVolumeClaim": {"claimName": claim, "readOnly": False}}
            for template, claim in claims.items()
        ),
        *(volume for volume in pod["spec"].get("volumes") or () if volume["name"] not in claims),
    ]
    identity: Json = {"hostname": name}
    if spec.get("serviceName"):
        identity["subdomain"] = spec["serviceName"]
    return {**pod, "spec": {**pod["spec"], **identity, **({"volumes": volumes} if volumes else {})}}


def claims_for(owner: Json, ordinal: int) -> list[Json]:
    """Return the claims of one pod; they outlive it, and the set too unless its retention policy says otherwise."""
    names = claim_names(owner, ordinal)
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    goes = policy.get("whenDeleted") == "Delete"
    found = []
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        source = template["metadata"]
        labels = {**(source.get("labels") or {}), **(owner["spec"]["selector"].get("matchLabels") or {})}
        metadata: Json = {
            "name": names[source["name"]],
            "namespace": owner["metadata"]["namespace"],
            "labels": labels,
        }
        if source.get("annotations"):
            metadata["annotations"] = source["annotations"]
        if goes:
            metadata["ownerReferences"] = [ownership.reference_to(owner, STATEFULSETS)]
        found.append(
            {
                "apiVersion": "v1",
                "kind": PERSISTENTVOLUMECLAIMS.kind,
                "metadata": metadata,
                "spec": template["spec"],
            }
        )
    return found
