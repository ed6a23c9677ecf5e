"""The actions that the contract declares for rpcs and operation types."""

from typing import Any

from dicomstore.v1 import access_options_pb2 as pb
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from server.model.access import Action

ACTIONS: dict[int, Action] = {
    pb.ACTION_READ: Action.READ,
    pb.ACTION_WRITE: Action.WRITE,
    pb.ACTION_DELETE: Action.DELETE,
    pb.ACTION_MANAGE_EXTENDED_QUERY_TAGS: Action.MANAGE_EXTENDED_QUERY_TAGS,
    pb.ACTION_EXPORT: Action.EXPORT,
    pb.ACTION_AUDIT: Action.AUDIT,
    pb.ACTION_ADMINISTER: Action.ADMINISTER,
    pb.ACTION_MONITOR: Action.MONITOR,
}

_declared: dict[str, int] = {}


def declared_action(method: str) -> int:
    """Return the `Action` of the contract that an rpc declares.

    Args:
        method: full name, as in "/dicomstore.v1.SearchService/Search".

    Raises:
        LookupError: it declares none.
    """
    if method not in _declared:
        descriptor = descriptor_pool.Default().FindMethodByName(method[1:].replace("/", "."))
        _declared[method] = _option(descriptor.GetOptions(), pb.action, method)
    return _declared[method]


def start_action(message: str) -> Action:
    """Return the action that an operation type declares on its request message, such as "ReindexRequest".

    Raises:
        LookupError: it declares none.
    """
    descriptor = descriptor_pool.Default().FindMessageTypeByName(f"dicomstore.v1.{message}")
    return ACTIONS[_option(descriptor.GetOptions(), pb.start_action, message)]


def _option(options: Message, extension: Any, name: str) -> int:
    value: int = options.Extensions[extension]
    if value == pb.ACTION_UNSPECIFIED:
        raise LookupError(f"{name} declares no action")
    return value
