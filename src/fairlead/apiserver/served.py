"""What the server serves: the built-in kinds and those that CustomResourceDefinitions add, behind one interface.

A `Served` is one resource in one version. Verbs know nothing of single kinds; whatever differs between them is asked of the
`Strategy`. The catalog changes only when definitions do, and everything derived from it (discovery) watches its `generation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from fairlead.api.resources import EVENTS_V1, HPAS_V1, Resource
from fairlead.apiserver import autoscaler_conversion, events_conversion
from fairlead.apiserver.kinds import strategy
from fairlead.apiserver.kinds.field_error import FieldError
from fairlead.apiserver.kinds.registry import KINDS, Kind
from fairlead.apiserver.patch.schema import FieldSchema, PatchSchema

Json = dict[str, Any]


class Strategy(Protocol):
    """What differs between kinds when objects are written."""

    custom: bool
    """Whether this is a custom resource (unconditional updates are refused; /status keeps the metadata)."""

    def type_error(self, obj: Json, body: bytes | None) -> str | None:
        """Return the real server's decoding error for values of the wrong JSON type; `body` is the request as received."""

    def unknown_fields(self, obj: Json, body: bytes | None) -> list[str]:
        """Return what field validation complains about, such as `unknown field "spec.foo"`."""

    def default(self, obj: Json) -> None:
        """Fill in defaults in place and drop what the kind does not know."""

    def prepare_for_create(self, obj: Json) -> None:
        """Set what the server decides on creation; uid, name and namespace are set."""

    def prepare_for_update(self, new: Json, old: Json) -> None:
        """Take from `old` what an updater may not set; count generations."""

    def prepare_for_status_update(self, new: Json, old: Json) -> None:
        """Take from `old` everything but the status (and the metadata that may come with it)."""

    def validate_create(self, obj: Json) -> list[FieldError]:
        """Return why `obj` may not be created."""

    def validate_update(self, new: Json, old: Json) -> list[FieldError]:
        """Return why `old` may not become `new`."""

    def validate_status_update(self, new: Json, old: Json) -> list[FieldError]:
        """Return why the status of `old` may not become that of `new`."""

    def columns(self) -> list[Json]:
        """Return the columns of a Table."""

    def cells(self, obj: Json, now: datetime) -> list[Any]:
        """Return the cells of one row."""

    def patch_schema(self) -> PatchSchema | None:
        """Return the strategic-merge metadata, or None when the kind has none (custom resources)."""

    def field_schema(self) -> FieldSchema:
        """Return how the kind's fields are owned."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One resource in one version. `table` names where its objects are stored; several versions share one.

    `from_storage` and `to_storage` convert objects where the stored form differs (None: it does not).
    """

    kind: Kind
    strategy: Strategy
    table: str
    from_storage: Callable[[Json], Json] | None = None
    to_storage: Callable[[Json], Json] | None = None
    scale_paths: Json | None = None
    selectable_fields: tuple[str, ...] = ()
    schema: Json | None = None
    """The OpenAPI schema, for custom resources that have one."""
    definition: str | None = None
    """The name of the CustomResourceDefinition, for custom resources."""
    deprecation: str = ""
    """What users of this version are warned of."""

    def __repr__(self) -> str:
        return f"<Served {self.resource.plural} {self.resource.api_version}>"

    @property
    def resource(self) -> Resource:
        """The resource."""
        return self.kind.resource


def table_name(resource: Resource) -> str:
    """Return the name of the table that stores `resource`."""
    return f"{resource.group}/{resource.plural}" if resource.group else resource.plural


@dataclass(slots=True)
class Catalog:
    """Every resource that is served now."""

    _served: dict[tuple[str, str, str], Served] = field(default_factory=dict)
    generation: int = 0

    def add(self, served: Served) -> None:
        """Serve this resource, in place of one of the same group, version and plural."""
        resource = served.resource
        self._served[resource.group, resource.version, resource.plural] = served
        self.generation += 1

    def remove_definition(self, definition: str) -> None:
        """Stop serving what a CustomResourceDefinition added."""
        gone = [key for key, served in self._served.items() if served.definition == definition]
        for key in gone:
            del self._served[key]
        self.generation += bool(gone)

    def find(self, group: str, version: str, plural: str) -> Served | None:
        """Return what is served at this group, version and plural."""
        return self._served.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Served | None:
        """Return what manifests mean by `apiVersion` and `kind`."""
        for served in self._served.values():
            if served.resource.kind == kind and served.resource.api_version == api_version:
                return served
        return None

    def of_table(self, table: str) -> Served | None:
        """Return the resource that stores in `table` unconverted."""
        for served in self._served.values():
            if served.table == table and served.from_storage is None:
                return served
        return None

    def has_group_version(self, group: str, version: str) -> bool:
        """Tell whether anything is served below this group and version."""
        return any(key[:2] == (group, version) for key in self._served)

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._served.values()))


class BuiltinStrategy:
    """The strategy of a built-in kind, by the rules in `kinds`."""

    custom = False

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def type_error(self, obj: Json, body: bytes | None) -> str | None:
        """See Strategy."""
        return strategy.type_errors(self._kind, obj, body)

    def unknown_fields(self, obj: Json, body: bytes | None) -> list[str]:
        """See Strategy."""
        return strategy.check_fields(self._kind, obj, body)

    def default(self, obj: Json) -> None:
        """See Strategy."""
        strategy.default(self._kind, obj)

    def prepare_for_create(self, obj: Json) -> None:
        """See Strategy."""
        strategy.prepare_for_create(self._kind, obj)

    def prepare_for_update(self, new: Json, old: Json) -> None:
        """See Strategy."""
        strategy.prepare_for_update(self._kind, new, old)

    def prepare_for_status_update(self, new: Json, old: Json) -> None:
        """See Strategy."""
        strategy.prepare_for_status_update(self._kind, new, old)

    def validate_create(self, obj: Json) -> list[FieldError]:
        """See Strategy."""
        return strategy.validate_create(self._kind, obj)

    def validate_update(self, new: Json, old: Json) -> list[FieldError]:
        """See Strategy."""
        return strategy.validate_update(self._kind, new, old)

    def validate_status_update(self, new: Json, old: Json) -> list[FieldError]:
        """See Strategy."""
        return strategy.validate_status_update(self._kind, new, old)

    def columns(self) -> list[Json]:
        """See Strategy."""
        found: list[Json] = tables().columns(self._kind)
        return found

    def cells(self, obj: Json, now: datetime) -> list[Any]:
        """See Strategy."""
        found: list[Any] = tables().row_cells(self._kind, obj, now)
        return found

    def patch_schema(self) -> PatchSchema | None:
        """See Strategy."""
        from fairlead.apiserver.kinds import merge_keys

        return merge_keys.patch_schema(self._kind)

    def field_schema(self) -> FieldSchema:
        """See Strategy."""
        from fairlead.apiserver.kinds import field_types

        return field_types.field_schema(self._kind)


def tables() -> Any:
    """Return the module of table columns, imported with its first use: an idle server needs none."""
    from fairlead.apiserver.kinds import tables

    return tables


_Conversion: TypeAlias = Callable[[Json], Json]
_CONVERSIONS: dict[Resource, tuple[_Conversion, _Conversion]] = {
    EVENTS_V1: (events_conversion.from_core, events_conversion.to_core),
    HPAS_V1: (autoscaler_conversion.from_v2, autoscaler_conversion.to_v2),
}
"""Resource → from and to the form in which another one stores its objects."""


def builtin_catalog() -> Catalog:
    """Return the catalog of the built-in kinds."""
    catalog = Catalog()
    for kind in KINDS:
        from_storage, to_storage = _CONVERSIONS.get(kind.resource, (None, None))
        catalog.add(
            Served(
                kind=kind,
                strategy=BuiltinStrategy(kind),
                table=table_name(kind.storage),
                from_storage=from_storage,
                to_storage=to_storage,
            )
        )
    return catalog
