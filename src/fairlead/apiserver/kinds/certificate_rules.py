"""What a CertificateSigningRequest must be, and how its conditions may change.

Source: certificates.k8s.io/v1 and its validation. The request itself (PKCS #10, RFC 2986) is parsed where it is signed and here.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fairlead.apiserver.kinds.field_error import OMITTED, FieldError

Object = dict[str, Any]

_LEAST_S = 600
_FIRM = ("Approved", "Denied", "Failed")


def parsed(request: object) -> Any:
    """Return the request in spec.request (base64 of PEM) as `cryptography` knows it; raises ValueError."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        pem = base64.b64decode(str(request or ""), validate=True)
    except binascii.Error:
        raise ValueError("illegal base64 data") from None
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    try:
        return x509.load_pem_x509_csr(pem)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None


def _is_signed(request: Any) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return bool(request.is_signature_valid)
    except UnsupportedAlgorithm:
        return False


def check(obj: Object) -> list[FieldError]:
    """Return why a request may not be stored."""
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    if not spec.get("request"):
        errors.append(FieldError("spec.request", "Required", OMITTED, ""))
    else:
        try:
            if not _is_signed(parsed(spec["request"])):
                raise ValueError("the signature is not that of the key in the request")
        except ValueError as error:
            errors.append(FieldError("spec.request", "Invalid", spec["request"], str(error)))
    usages = spec.get("usages") or []
    if not usages:
        errors.append(FieldError("spec.usages", "Required", OMITTED, "usages must be provided"))
    if len(set(usages)) != len(usages):
        twice = next(index for index, usage in enumerate(usages) if usage in usages[:index])
        errors.append(FieldError(f"spec.usages[{twice}]", "Duplicate", usages[twice], ""))
    signer = spec.get("signerName") or ""
    if not signer:
        errors.append(FieldError("spec.signerName", "Required", OMITTED, ""))
    elif "/" not in signer or not all(signer.partition("/")[::2]):
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        errors.append(FieldError("spec.signerName", "Invalid", signer, detail))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _LEAST_S:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(FieldError("spec.expirationSeconds", "Invalid", seconds, detail))
    return errors


def check_status(new: Object, old: Object) -> list[FieldError]:
    """Return why the conditions or the certificate may not become `new`'s."""
    conditions = (new.get("status") or {}).get("conditions") or []
    types = [one.get("type") for one in conditions]
    errors: list[FieldError] = []
    if "Approved" in types and "Denied" in types:
        detail = "Approved and Denied conditions are mutually exclusive"
        where = f"status.conditions[{max(types.index('Approved'), types.index('Denied'))}].type"
        errors.append(FieldError(where, "Invalid", types[max(types.index("Approved"), types.index("Denied"))], detail))
    for index, one in enumerate(conditions):
        if one.get("type") in _FIRM and one.get("status") not in (None, "True"):
            field = f"status.conditions[{index}].status"
            errors.append(FieldError(field, "NotSupported", one["status"], 'supported values: "True"'))
        if one.get("type") in types[:index]:
            errors.append(FieldError(f"status.conditions[{index}].type", "Duplicate", one.get("type"), ""))
    before = {one.get("type") for one in (old.get("status") or {}).get("conditions") or ()}
    for gone in sorted(before & set(_FIRM) - set(types)):
        detail = f'updates may not remove a condition of type "{gone}"'
        errors.append(FieldError("status.conditions", "Forbidden", OMITTED, detail))
    return errors
