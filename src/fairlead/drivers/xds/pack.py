"""Serializing for the proxy: deterministic bytes, and versions that follow from them alone."""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf import any_pb2, duration_pb2, wrappers_pb2

from fairlead.drivers.xds.protocol import Resource

PREFIX = "type.googleapis.com/"


def resource(name: str, message: Any) -> Resource:
    """Return a message as a resource."""
    body = serialized(message)
    return Resource(name, version_of(body), body)


def version_of(content: bytes) -> str:
    """Return the version of a resource with this content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def serialized(message: Any) -> bytes:
    """Return the bytes of a message; equal messages give equal bytes."""
    body: bytes = message.SerializeToString(deterministic=True)
    return body


def packed(message: Any) -> Any:
    """Return a message as google.protobuf.Any."""
    return any_pb2.Any(type_url=PREFIX + message.DESCRIPTOR.full_name, value=serialized(message))


def milliseconds(count: int) -> Any:
    """Return a duration."""
    return duration_pb2.Duration(seconds=count // 1000, nanos=count % 1000 * 1_000_000)


def number(value: int) -> Any:
    """Return a UInt32Value."""
    return wrappers_pb2.UInt32Value(value=value)


def boolean(value: bool) -> Any:
    """Return a BoolValue."""
    return wrappers_pb2.BoolValue(value=value)
