"""Which version of the Gateway API a cluster's definitions are of, and whether it is one that is served. Pure.

Source: GatewayClassConditionStatusSupportedVersion. A version is what a definition's annotation says; a definition that is missing says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fairlead.api.gateway import GROUP
from fairlead.api.resources import GATEWAY_KINDS
from fairlead.model.gateway.listeners import Verdict

DEFINITIONS = tuple(sorted(f"{each.plural}.{each.group}" for each in GATEWAY_KINDS.values() if each.group == GROUP))
"""Names of the definitions whose objects are read."""
ANNOTATION = f"{GROUP}/bundle-version"
_SERVED = "v1.6"
_OURS = re.compile(re.escape(_SERVED) + r"(\.[0-9]{1,4})?")


_SHOWN = 3
_LONGEST = 32


def verdict(versions: Mapping[str, str]) -> Verdict:
    """Return what is wrong with the versions of definitions by name; empty for one without."""
    wrong = [
        f"{name} is of {repr(version[:_LONGEST]) if version else f'no version (annotation {ANNOTATION})'}"
        for name, version in sorted(versions.items())
        if not _OURS.fullmatch(version)
    ]
    if not versions:
        wrong = [f"no CustomResourceDefinition of {GROUP} may be read"]
    if not wrong:
        return Verdict()
    told = ", ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")
    return Verdict("UnsupportedVersion", f"{told}; {_SERVED} is served: install its CustomResourceDefinitions")
