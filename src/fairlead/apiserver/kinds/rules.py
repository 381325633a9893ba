"""Which function checks the objects of which kind, by group and kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairlead.apiserver.kinds.field_error import FieldError

Object = dict[str, Any]

ON_CREATE: Mapping[tuple[str, str], Callable[[Object], list[FieldError]]] = {}
"""Checks of a whole object, metadata excepted."""

ON_UPDATE: Mapping[tuple[str, str], Callable[[Object, Object], list[FieldError]]] = {}
"""Checks of a changed object; a kind without an entry is checked as on creation."""
