"""The record of the position of the scrub: a JSON object."""

import json
from datetime import datetime
from typing import Any

from server.model.storage.scrub import ScrubPosition


def position_text(position: ScrubPosition) -> bytes:
    """Return the record."""
    values = {
        "began": position.began.isoformat(),
        "after": position.after,
        "complete": position.complete.isoformat() if position.complete else None,
        "damaged": sorted(position.damaged),
    }
    return json.dumps(values).encode()


def parsed_position(text: bytes) -> ScrubPosition | None:
    """Return the position; None, so that the scrub starts over, if the record is damaged."""
    try:
        found: Any = json.loads(text)
        return ScrubPosition(
            datetime.fromisoformat(found["began"]),
            None if found["after"] is None else int(found["after"]),
            datetime.fromisoformat(found["complete"]) if found["complete"] else None,
            frozenset(map(int, found.get("damaged", ()))),
        )
    except (ValueError, LookupError, TypeError):
        return None
