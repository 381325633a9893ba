"""The files of volumes that are made from API objects: configMap, secret, downwardAPI and projected. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from fairlead.lab.kubelet.env import ConfigError, Objects, Surroundings, contents, field_value, resource_value
from fairlead.lab.kubelet.pod import Container, Json, Pod, ResourceReference

DEFAULT_MODE = 0o644
_TOKEN_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int = DEFAULT_MODE


def volume_files(pod: Pod, volume: Json, around: Surroundings) -> dict[str, File] | None:
    """Return relative path → file for a volume made from API objects, None for any other; raises ConfigError."""
    if (source := volume.get("configMap")) is not None:
        return _from_object(source, source.get("name", ""), around.config_maps, "configmap", source.get("defaultMode"))
    if (source := volume.get("secret")) is not None:
        return _from_object(source, source.get("secretName", ""), around.secrets, "secret", source.get("defaultMode"))
    if (source := volume.get("downwardAPI")) is not None:
        return _downward(pod, source, around, source.get("defaultMode"))
    if (projected := volume.get("projected")) is not None:
        return _projected(pod, projected, around)
    return None


def token_wanted(source: Json) -> tuple[str, int]:
    """Return audience (empty: the API server) and seconds of life that a serviceAccountToken source asks for."""
    return source.get("audience") or "", int(source.get("expirationSeconds") or _TOKEN_S)


def references(pod: Pod) -> Iterator[tuple[str, str, bool]]:
    """Yield (`configmap` or `secret`, name, optional) for each object that the pod's containers or volumes read."""
    for container in pod.all_containers:
        yield from _of_container(container)
    for volume in pod.spec.volumes or ():
        sources: Iterable[Json] = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for source in sources:
            if found := source.get("configMap"):
                yield "configmap", found.get("name", ""), bool(found.get("optional"))
            if found := source.get("secret"):
                yield "secret", found.get("secretName") or found.get("name", ""), bool(found.get("optional"))


def _of_container(container: Container) -> Iterator[tuple[str, str, bool]]:
    for source in container.env_from or ():
        if source.config_map_ref:
            yield "configmap", source.config_map_ref.name, bool(source.config_map_ref.optional)
        if source.secret_ref:
            yield "secret", source.secret_ref.name, bool(source.secret_ref.optional)
    for variable in container.env or ():
        if variable.value_from and (key := variable.value_from.config_map_key_ref):
            yield "configmap", key.name, bool(key.optional)
        if variable.value_from and (key := variable.value_from.secret_key_ref):
            yield "secret", key.name, bool(key.optional)


def _projected(pod: Pod, projected: Json, around: Surroundings) -> dict[str, File]:
    mode = projected.get("defaultMode")
    files: dict[str, File] = {}
    for source in projected.get("sources") or ():
        if (found := source.get("configMap")) is not None:
            files |= _from_object(found, found.get("name", ""), around.config_maps, "configmap", mode)
        elif (found := source.get("secret")) is not None:
            files |= _from_object(found, found.get("name", ""), around.secrets, "secret", mode)
        elif (found := source.get("downwardAPI")) is not None:
            files |= _downward(pod, found, around, mode)
        elif (found := source.get("serviceAccountToken")) is not None:
            token = around.tokens.get(token_wanted(found))
            if token is None:
                raise ConfigError("failed to fetch token: there is none yet")
            files[_safe(found["path"])] = File(content=token.encode(), mode=mode or DEFAULT_MODE)
    return files


def _from_object(source: Json, name: str, objects: Objects, noun: str, mode: int | None) -> dict[str, File]:
    mode = DEFAULT_MODE if mode is None else mode
    obj = objects.get(name)
    if obj is None:
        if source.get("optional"):
            return {}
        raise ConfigError(f'{noun} "{name}" not found')
    data = contents(obj)
    items = source.get("items")
    if not items:
        return {key: File(content=value, mode=mode) for key, value in data.items()}
    files = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            word = "config" if noun == "configmap" else noun
            raise ConfigError(f"references non-existent {word} key: {item['key']}")
        files[_safe(item["path"])] = File(content=data[item["key"]], mode=_mode(item, mode))
    return files


def _downward(pod: Pod, source: Json, around: Surroundings, mode: int | None) -> dict[str, File]:
    files = {}
    for item in source.get("items") or ():
        if (field := item.get("fieldRef")) is not None:
            text = field_value(pod, field["fieldPath"], around)
        elif item.get("resourceFieldRef") is not None:
            reference = msgspec.convert(item["resourceFieldRef"], ResourceReference)
            text = resource_value(pod, pod.spec.containers[0], reference, around)
        else:
            continue
        files[_safe(item["path"])] = File(
            content=text.encode(), mode=_mode(item, DEFAULT_MODE if mode is None else mode)
        )
    return files


def _mode(item: Json, default: int) -> int:
    mode = item.get("mode")
    return default if mode is None else int(mode)


def _safe(path: str) -> str:
    """Return `path` if it stays inside of its volume; the API server refuses the others, but files must not rely on it."""
    if path.startswith("/") or ".." in path.split("/"):
        raise ConfigError(f"path {path!r} leaves its volume")
    return path
