"""The outcomes of a store request, one for each part in their order, as JSON: for programs that upload many files.

The Store Instances Response of PS3.18 section 10.5.3 has two sequences, without the position of an instance in the
request, and a Failure Reason for several causes.
"""

from collections.abc import Iterable
from typing import Any

import orjson
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.store_service_pb2 import StoreOutcome

from facade.errors import reason_name

OUTCOMES_JSON = "application/vnd.dicomstore.outcomes+json"


def store_outcomes_json(outcomes: Iterable[StoreOutcome]) -> bytes:
    """Return an array of objects; only one of them at a time exists as a Python object."""
    return b"[%b]" % b",".join(orjson.dumps(_outcome(outcome)) for outcome in outcomes)


def _outcome(outcome: StoreOutcome) -> dict[str, Any]:
    if outcome.HasField("stored"):
        stored = outcome.stored
        name = "unchanged" if stored.identical else "replaced" if stored.replaced_version else "stored"
        return {"outcome": name, **_uids(stored.id), "warnings": len(stored.findings)}
    failed = outcome.failed
    return {
        "outcome": "failed",
        **_uids(failed.instance),
        "reason": reason_name(failed.reason),
        "message": failed.message,
        "identical": failed.identical,
    }


def _uids(instance: Address) -> dict[str, str]:
    return {
        "studyInstanceUid": instance.study_instance_uid,
        "seriesInstanceUid": instance.series_instance_uid,
        "sopInstanceUid": instance.sop_instance_uid,
    }
