"""DICOM JSON (PS3.18 Annex F) as bytes: arrays of data sets, absolute BulkDataURIs, and the store response.

Data sets of the core are in canonical form and are never parsed here.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

import orjson
from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.resources_pb2 import AttributeFinding, ItemError
from dicomstore.v1.store_service_pb2 import StoredInstance, StoreOutcome

from facade.request.addresses import Urls
from facade.versions import ApiVersion

_RELATIVE = b'"BulkDataURI":"bulkdata:'
_REFERENCE = re.compile(_RELATIVE + rb'([^"]*+)"')
_BINARY = re.compile(
    rb':\{"vr":"(?:(?:O[BDFLVW]|UN)"(?:,"InlineBinary":"[^"]*+")?+|[A-Z]{2}","BulkDataURI":"[^"]*+")\}'
)
_KEY_BYTES = len('"7FE00010"')
_BRACE = ord("{")
_RETRIEVE_URL = "00081190"
_HAS_FINDINGS = 1
"""Warning Reason of an instance that was stored with invalid attributes."""

DataSet = dict[str, dict[str, Any]]
"""A data set as Python values of DICOM JSON, keys ascending."""


def array(data_sets: Iterable[bytes]) -> bytes:
    """Return data sets as one JSON array."""
    return b"[" + b",".join(data_sets) + b"]"


async def array_chunks(pages: AsyncIterator[Sequence[bytes]]) -> AsyncGenerator[bytes, None]:
    """Yield pages of data sets as one JSON array, page by page."""
    lead = b"["
    async for data_sets in pages:
        if data_sets:
            yield b",".join([lead + data_sets[0], *data_sets[1:]])
            lead = b","
    yield b"[]" if lead == b"[" else b"]"


def has_bulk_data(data_set: bytes) -> bool:
    """Return whether `with_bulk_data_urls` would change the data set."""
    return _RELATIVE in data_set


def with_bulk_data_urls(data_set: bytes, instance_url: str, query: str = "") -> bytes:
    """Return an instance's data set with absolute BulkDataURIs, which end with `query`.

    Works without parsing: a quotation mark in a JSON string is always escaped, so the pattern matches only keys.
    """
    absolute = b'"BulkDataURI":"' + instance_url.encode() + b"/bulkdata/"
    if query:
        return _REFERENCE.sub(lambda found: b'%b%b%b"' % (absolute, found[1], query.encode()), data_set)
    return data_set.replace(_RELATIVE, absolute)


def without_bulk_data(data_set: bytes) -> bytes:
    """Return a data set without binary elements and bulk data, also in items (setting `omit_bulk_data_in`).

    Works without parsing, like `with_bulk_data_urls`.
    """
    kept: list[bytes] = []
    position, is_first = 0, False
    for found in _BINARY.finditer(data_set):
        start, end = found.start() - _KEY_BYTES, found.end()
        is_first = data_set[start - 1] == _BRACE or (is_first and start == position)
        if not is_first:
            start -= 1  # with the comma before it
        elif data_set.startswith(b",", end):
            end += 1
        kept.append(data_set[position:start])
        position = end
    return b"".join([*kept, data_set[position:]])


def store_response(outcomes: Sequence[StoreOutcome], version: ApiVersion, urls: Urls, study: str = "") -> DataSet:
    """Return the Store Instances Response Module (PS3.18 section 10.5.3).

    study: Study Instance UID in the URL of the request, if any.
    """
    return {name: orjson.loads(element) for name, element in _store_response(outcomes, version, urls, study)}


def store_response_json(outcomes: Sequence[StoreOutcome], version: ApiVersion, urls: Urls, study: str = "") -> bytes:
    """Return the same as JSON; only one item at a time exists as Python objects."""
    elements = (
        b'"%b":%b' % (name.encode(), element) for name, element in _store_response(outcomes, version, urls, study)
    )
    return b"{" + b",".join(elements) + b"}"


def _store_response(
    outcomes: Sequence[StoreOutcome], version: ApiVersion, urls: Urls, study: str
) -> Iterator[tuple[str, bytes]]:
    """Yield the elements in ascending order of tags, with values as JSON."""
    stored = [
        orjson.dumps(_stored(outcome.stored, version, urls)) for outcome in outcomes if outcome.HasField("stored")
    ]
    failed = [orjson.dumps(_failed(outcome.failed)) for outcome in outcomes if outcome.HasField("failed")]
    if study and stored:
        yield _RETRIEVE_URL, orjson.dumps(_element("UR", urls.study(study)))
    if failed:
        yield "00081198", b'{"vr":"SQ","Value":[%b]}' % b",".join(failed)
    if stored:
        yield "00081199", b'{"vr":"SQ","Value":[%b]}' % b",".join(stored)


def _stored(instance: StoredInstance, version: ApiVersion, urls: Urls) -> DataSet:
    uids = instance.id
    url = urls.instance(uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
    item: DataSet = {
        "00081150": _element("UI", instance.sop_class_uid),
        "00081155": _element("UI", uids.sop_instance_uid),
        _RETRIEVE_URL: _element("UR", url),
    }
    if instance.dicom_warning_reason and (version.reports_findings or instance.dicom_warning_reason != _HAS_FINDINGS):
        item["00081196"] = _element("US", instance.dicom_warning_reason)
    if version.reports_findings:
        item["00741048"] = _element("SQ", *map(_comment, instance.findings))
    return item


def _failed(error: ItemError) -> DataSet:
    item: DataSet = {}
    if error.reason == ErrorReason.ERROR_REASON_ON_HOLD:
        item["00000902"] = _element("LO", error.message)
    if error.sop_class_uid:
        item["00081150"] = _element("UI", error.sop_class_uid)
    if error.instance.sop_instance_uid:
        item["00081155"] = _element("UI", error.instance.sop_instance_uid)
    item["00081197"] = _element("US", error.dicom_failure_reason or 272)
    findings = list(error.findings)
    if not findings and error.reason == ErrorReason.ERROR_REASON_STUDY_MISMATCH:
        findings = [AttributeFinding(tag="0020000D", message=error.message)]
    if findings:
        item["00741048"] = _element("SQ", *map(_comment, findings))
    return item


def _comment(finding: AttributeFinding) -> DataSet:
    return {"00000902": _element("LO", f"DICOM100: {_shown_path(finding.path or finding.tag)} - {finding.message}")}


def _shown_path(path: str) -> str:
    """Return a path as "(0040,0275)[1].(0008,0050)"."""
    steps = path.split("/")
    tags = [f"({tag[:4]},{tag[4:]})".lower() for tag in steps[::2]]
    return ".".join([*(f"{tag}[{item}]" for tag, item in zip(tags, steps[1::2], strict=False)), tags[-1]])


def _element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
