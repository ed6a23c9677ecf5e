"""gRPC statuses of errors."""

import grpc

from server.model.errors import Reason, Unavailable
from server.rpc.errors import outcome, to_status


class _MoreSpecific(Unavailable):
    """As adapters raise."""


def test_an_error_of_a_more_specific_class_has_the_code_of_its_base() -> None:
    error = _MoreSpecific(Reason.STORAGE_UNAVAILABLE, "The object store is unavailable.")
    assert to_status(error).code is grpc.StatusCode.UNAVAILABLE
    assert outcome(error) == ("UNAVAILABLE", Reason.STORAGE_UNAVAILABLE)
