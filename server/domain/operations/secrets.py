"""Credentials in requests of operations: encrypted as long as the operation is unfinished."""

from collections.abc import Callable, Mapping, Sequence

from common.sealing import Sealer
from server.model.errors import InvalidRequest, Reason, Unavailable

_LABEL = b"dicomstore operation\0"
_VERSION = 1


class OperationSecrets:
    """Encrypts and decrypts credentials.

    Args:
        keys: returns the keys, see `Sealer`. Raises OSError or ValueError if there is none. Called when credentials are
            given.
    """

    def __init__(self, keys: Callable[[], Sequence[str]]) -> None:
        self._keys = keys

    def seal(self, operation_id: str, credentials: Mapping[str, str]) -> str:
        """Return encrypted credentials, which belong to this operation; empty for none.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE, the key cannot be used.
        """
        return self._sealer().seal(operation_id, _VERSION, [dict(credentials)]) if credentials else ""

    def unseal(self, operation_id: str, secret: str) -> Mapping[str, str]:
        """Return credentials; none for an empty secret.

        Raises:
            InvalidRequest: INVALID_FIELD, they were encrypted with another key.
            Unavailable: STORAGE_UNAVAILABLE, the key cannot be used.
        """
        if not secret:
            return {}
        fields = self._sealer().open(operation_id, _VERSION, secret)
        if fields is None:
            message = "The credentials were encrypted with another operation_key than that of this process."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="destination")
        credentials: Mapping[str, str] = fields[0]
        return credentials

    def _sealer(self) -> Sealer:
        try:
            return Sealer(self._keys(), _LABEL)
        except (OSError, ValueError) as error:
            message = "The key for credentials of operations cannot be used; see operation_key."
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, message) from error
