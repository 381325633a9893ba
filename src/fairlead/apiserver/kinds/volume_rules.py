"""The rules of pod volumes.

Source: kube-apiserver core validation (ValidateVolumes).
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.container_rules import check_local_path
from fairlead.apiserver.kinds.field_error import FieldError, duplicate, forbidden, invalid, not_supported, required

Object = dict[str, Any]

_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")


def check_volumes(volumes: list[Object], field: str) -> tuple[set[str], list[FieldError]]:
    """Return the names that mounts may use, and what is wrong with the volumes."""
    names: set[str] = set()
    errors: list[FieldError] = []
    for index, volume in enumerate(volumes):
        where = f"{field}[{index}]"
        found = _volume(volume, where)
        name = volume.get("name", "")
        if not name:
            found.append(required(f"{where}.name"))
        else:
            found += [invalid(f"{where}.name", name, text) for text in formats.dns_label(name)]
            if name in names:
                found.append(duplicate(f"{where}.name", name))
            names.add(name)
        errors += found
    return names, errors


def _volume(volume: Object, field: str) -> list[FieldError]:
    sources = [name for name in volume if name != "name" and volume[name] is not None]
    if not sources:
        return [required(field, "must specify a volume type")]
    errors = [forbidden(f"{field}.{name}", "may not specify more than 1 volume type") for name in sources[1:]]
    kind = sources[0]
    source, where = volume[kind], f"{field}.{kind}"
    match kind:
        case "secret":
            if not source.get("secretName"):
                errors.append(required(f"{where}.secretName"))
            errors += _modes_and_items(source, where)
        case "configMap":
            if not source.get("name"):
                errors.append(required(f"{where}.name"))
            errors += _modes_and_items(source, where)
        case "hostPath":
            errors += _host_path(source, where)
        case "persistentVolumeClaim":
            if not source.get("claimName"):
                errors.append(required(f"{where}.claimName"))
        case "nfs":
            errors += [required(f"{where}.{name}") for name in ("server", "path") if not source.get(name)]
            if source.get("path") and not source["path"].startswith("/"):
                errors.append(invalid(f"{where}.path", source["path"], "must be an absolute path"))
        case "projected":
            errors += _mode(source.get("defaultMode"), f"{where}.defaultMode")
            for index, inner in enumerate(source.get("sources") or ()):
                errors += _projection(inner, f"{where}.sources[{index}]")
        case "downwardAPI":
            errors += _mode(source.get("defaultMode"), f"{where}.defaultMode")
            for index, item in enumerate(source.get("items", ())):
                errors += _downward_item(item, f"{where}.items[{index}]")
    return errors


def _host_path(source: Object, field: str) -> list[FieldError]:
    path = source.get("path", "")
    if not path:
        return [required(f"{field}.path")]
    errors = [invalid(f"{field}.path", path, "must not contain '..'")] if ".." in path.split("/") else []
    if source.get("type", "") not in _HOST_PATH_TYPES:
        errors.append(not_supported(f"{field}.type", source["type"], _HOST_PATH_TYPES))
    return errors


def _projection(source: Object, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for kind in ("secret", "configMap"):
        if (inner := source.get(kind)) is not None:
            if not inner.get("name"):
                errors.append(required(f"{field}.{kind}.name"))
            errors += _modes_and_items(inner, f"{field}.{kind}")
    for index, item in enumerate((source.get("downwardAPI") or {}).get("items", ())):
        errors += _downward_item(item, f"{field}.downwardAPI.items[{index}]")
    token = source.get("serviceAccountToken")
    if token is not None:
        if token.get("expirationSeconds", 3600) < 600:
            text = "may not specify a duration less than 10 minutes"
            errors.append(invalid(f"{field}.serviceAccountToken.expirationSeconds", token["expirationSeconds"], text))
        if not token.get("path"):
            errors.append(required(f"{field}.serviceAccountToken.path"))
    return errors


def _modes_and_items(source: Object, field: str) -> list[FieldError]:
    errors = _mode(source.get("defaultMode"), f"{field}.defaultMode")
    for index, item in enumerate(source.get("items", ())):
        where = f"{field}.items[{index}]"
        errors += [required(f"{where}.{name}") for name in ("key", "path") if not item.get(name)]
        if item.get("path"):
            errors += check_local_path(item["path"], f"{where}.path")
        errors += _mode(item.get("mode"), f"{where}.mode")
    return errors


def _downward_item(item: Object, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not item.get("path"):
        errors.append(required(f"{field}.path"))
    else:
        errors += check_local_path(item["path"], f"{field}.path")
    if item.get("fieldRef") is None and item.get("resourceFieldRef") is None:
        errors.append(required(field, "one of fieldRef and resourceFieldRef is required"))
    return errors + _mode(item.get("mode"), f"{field}.mode")


def _mode(mode: int | None, field: str) -> list[FieldError]:
    if mode is not None and not 0 <= mode <= 0o777:
        return [invalid(field, mode, "must be a number between 0 and 0777 (octal), both inclusive")]
    return []
