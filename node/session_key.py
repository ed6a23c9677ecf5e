"""The key of browser sessions that all nodes of an archive share."""

import logging
from collections.abc import Sequence
from pathlib import Path

from common.key_file import key_in
from common.settings import SecretText
from facade.config import Settings

SESSION_KEY_FILE = "session.key"
"""The file in the data directory with the key that encrypts cookies of browser sessions."""

_log = logging.getLogger("dicomstore")


def with_session_key(settings: Settings, data: Path, shared: Sequence[str] = ()) -> Settings:
    """Return the settings with the keys that all nodes share, unless they have some: `shared`, or without these that of
    the data directory.

    If it cannot be used, as on a full disk, sessions are valid for this process only.
    """
    if settings.session_keys:
        return settings
    try:
        key = SecretText(",".join(shared) or key_in(data / SESSION_KEY_FILE))
    except (OSError, ValueError) as error:
        _log.warning("browser sessions end with this process, because their key cannot be used cause=%s", error)
        return settings
    return settings.model_copy(update={"session_key": key})
