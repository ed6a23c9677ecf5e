"""The access token that commands send to the core."""

import os
from pathlib import Path

from cli.config import Settings
from common.addresses import names_this_machine
from common.settings import file_table, read_secret

_OPERATOR_TOKEN = "operator.token"  # noqa: S105 - the name of a file


def access_token(settings: Settings, core: str, token_file: Path | None) -> str:
    """Return the access token for calls of a core; empty if there is none.

    It is that of option `--token-file`, or of setting `token`, or, for a core at a loopback address or
    `localhost`, of the file `operator.token` in the data directory, if this user may read it.

    Raises:
        ValueError: the file of the option is not readable, or contains no token.
    """
    if token_file is not None:
        return _checked(read_secret(str(token_file), "--token-file"), str(token_file))
    if token := settings.token.get_secret_value():
        return _checked(token, "setting token")
    return _operator_token() if names_this_machine(core) else ""


def _checked(token: str, source: str) -> str:
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{source} is not a token")
    return token


def _operator_token() -> str:
    data = os.environ.get("DICOMSTORE_DATA") or file_table("server").get("data") or "data"
    path = str(Path(data) / _OPERATOR_TOKEN)
    try:
        return _checked(read_secret(path, path), path)
    except ValueError:
        return ""
