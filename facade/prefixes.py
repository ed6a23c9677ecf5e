"""The part of a path before the version that belongs to a share link (see `facade.sharing.paths`).

It is removed before routing, and kept in the state of the request for URLs in responses and for the log.
"""

from starlette.types import Scope

_PATH = "path_prefix"
_ROUTE = "route_prefix"


def remove_prefix(scope: Scope, path: str, route: str) -> None:
    """Remove the beginning of the path of a request; `route` stands for it in the log."""
    scope["path"] = scope["path"][len(path) :]
    scope["raw_path"] = scope["raw_path"][len(path) :]
    scope.setdefault("state", {}).update({_PATH: path, _ROUTE: route})


def path_prefix(scope: Scope) -> str:
    """Return the removed beginning of the path; "" if there is none."""
    prefix: str = scope.get("state", {}).get(_PATH, "")
    return prefix


def route_prefix(scope: Scope) -> str:
    """Return what stands for it in the log."""
    prefix: str = scope.get("state", {}).get(_ROUTE, "")
    return prefix
