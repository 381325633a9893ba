"""JSON patch (RFC 6902) and merge patch (RFC 7386) of decoded documents. Inputs may be changed; results are what counts."""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.errors import StatusError, bad_request, failure

MOST_OPERATIONS = 10_000


def json_patch(document: Any, operations: Any) -> Any:
    """Return `document` after `operations`; raises 400 for a malformed patch, 422 for one that does not fit, 413 for too many."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > MOST_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(operations)}"
        raise failure(413, "RequestEntityTooLarge", message)
    import jsonpatch
    import jsonpointer

    try:
        return jsonpatch.apply_patch(document, operations, in_place=True)
    except jsonpatch.JsonPatchTestFailed as error:
        raise _unfit(
            f"the server rejected our request due to an error in our request: testing failed: {error}"
        ) from None
    except jsonpatch.InvalidJsonPatch as error:
        raise bad_request(f"error decoding patch: {error}") from None
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError, IndexError) as error:
        raise _unfit(f"the server rejected our request due to an error in our request: {error}") from None


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` merged with `patch`: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def _unfit(message: str) -> StatusError:
    return failure(422, "Invalid", message)
