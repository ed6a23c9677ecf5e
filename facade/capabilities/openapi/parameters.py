"""The parameters of paths and query strings, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from facade.capabilities.openapi.schemas import BOOLEAN, COUNT, NUMBER, TEXT, TIME, UID, Schema, choice

_LIMIT: Schema = {"type": "integer", "minimum": 1}
_STRINGS: Schema = {"type": "string", "minLength": 1}

OF_PATHS: Mapping[str, tuple[str, Schema]] = MappingProxyType(
    {
        "partition": ("Name of the partition.", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}),
        "study": ("Study Instance UID.", UID),
        "series": ("Series Instance UID.", UID),
        "instance": ("SOP Instance UID.", UID),
        "frames": ("Frame numbers from 1, separated by commas.", {"type": "string", "pattern": "^[0-9]+(,[0-9]+)*$"}),
        "path": ("Path of the value: tags and item numbers, separated by slashes.", _STRINGS),
        "number": ("Number of the version, from 1.", {"type": "integer", "minimum": 1}),
        "transaction": ("Transaction UID.", UID),
        "workitem": ("UID of the workitem.", UID),
        "requester": ("AE title of the requester.", _STRINGS),
        "aetitle": ("AE title of the subscriber.", {"type": "string", "minLength": 1, "maxLength": 16}),
        "name": ("Name of the consumer.", _STRINGS),
        "webhook": ("Id of the webhook.", _STRINGS),
        "rule": ("Id of the rule.", _STRINGS),
        "tag": ("Keyword, tag or path of the attribute.", _STRINGS),
        "operation": ("Id of the operation.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}),
        "transfer": ("Id of the transfer.", _STRINGS),
        "link": ("Id of the share link.", _STRINGS),
        "code": ("Code of the login link.", _STRINGS),
        "token": ("Id of the access token, or token of the share link.", _STRINGS),
    }
)

OF_QUERIES: Mapping[str, tuple[str, Schema]] = MappingProxyType(
    {
        "accept": ("Media types that the client accepts, instead of the header.", TEXT),
        "charset": ("Character sets that the client accepts; text is always UTF-8.", TEXT),
        "version": ("Number of the version of the instance.", {"type": "integer", "minimum": 1}),
        "annotation": ("Burned-in annotations (PS3.18 section 8.3.5.1.1).", TEXT),
        "quality": ("Quality of lossy compression.", {"type": "integer", "minimum": 1, "maximum": 100}),
        "viewport": ("Size and region (PS3.18 section 8.3.5.1.3).", TEXT),
        "window": ("Centre, width and function (PS3.18 section 8.3.5.1.4).", TEXT),
        "iccprofile": ("ICC profile (PS3.18 section 8.3.5.1.5).", choice("no", "yes", "srgb", "adobergb", "rommrgb")),
        "fuzzymatching": ("Match person names by prefixes of their words.", BOOLEAN),
        "emptyvaluematching": ('`""` matches resources without a value.', BOOLEAN),
        "multiplevaluematching": ("Attributes may be repeated.", BOOLEAN),
        "includefield": ("Attributes to return, separated by commas, or `all`.", TEXT),
        "excludefield": ("Attributes to omit, separated by commas.", TEXT),
        "limit": ("Maximum number of entries of a page.", _LIMIT),
        "offset": ("Number of entries to skip; for the change feed of `/v1`, a sequence.", COUNT),
        "PriorRecordKey": ("Record Key to continue after.", TEXT),
        "pagetoken": ("From the `Link` of a page.", TEXT),
        "totalcount": ("Return the number of matches on all pages in `X-Total-Count`.", BOOLEAN),
        "sort": ("Keys of the order, separated by commas; `-` before one means descending.", TEXT),
        "labels": ("Add labels to the matches.", BOOLEAN),
        "requestType": ("The value `WADO`.", choice("WADO")),
        "studyUID": ("Study Instance UID.", UID),
        "seriesUID": ("Series Instance UID.", UID),
        "objectUID": ("SOP Instance UID.", UID),
        "contentType": ("Media types that the client accepts.", TEXT),
        "transferSyntax": ("UID of the transfer syntax.", UID),
        "rows": ("Maximum height in pixels.", _LIMIT),
        "columns": ("Maximum width in pixels.", _LIMIT),
        "region": ("Part of the image, as fractions.", TEXT),
        "windowCenter": ("Centre of the window.", {"type": "number"}),
        "windowWidth": ("Width of the window.", {"type": "number"}),
        "frameNumber": ("Number of the frame, from 1.", _LIMIT),
        "imageQuality": ("Quality of lossy compression.", {"type": "integer", "minimum": 1, "maximum": 100}),
        "workitem": ("UID of the new workitem.", UID),
        "Transaction-uid": ("Transaction UID of the performer.", UID),
        "deletionlock": ("Keep the workitem until the subscriber has unsubscribed.", BOOLEAN),
        "filter": ("Attributes and values of workitems, as `attribute=value,…`.", TEXT),
        "includeWorkitem": ("Events include the workitem.", BOOLEAN),
        "lastEventId": ("Id of the last received event, to continue after.", TEXT),
        "consumer": ("Name of the consumer whose position is the start.", TEXT),
        "after": ("Last entry of the previous page.", TEXT),
        "startTime": ("Earliest time, inclusive.", TIME),
        "endTime": ("Latest time, exclusive.", TIME),
        "includeMetadata": ("Entries include the metadata of the instance.", BOOLEAN),
        "from": ("Version to compare with.", NUMBER),
        "name": ("Name of the hold.", TEXT),
        "reason": ("Why, for the audit trail and the history.", {"type": "string", "maxLength": 500}),
        "StudyInstanceUID": ("Study Instance UID.", UID),
        "SeriesInstanceUID": ("Series Instance UID.", UID),
        "SOPInstanceUID": ("SOP Instance UID.", UID),
        "type": ("Types of operations, separated by commas.", TEXT),
        "status": ("States of operations, separated by commas.", TEXT),
        "state": ("State of transfers.", choice("waiting", "running", "succeeded", "failed", "canceled")),
        "remote": ("Name of the remote application entity.", TEXT),
        "order": ("Order of the records.", choice("newest", "oldest")),
        "principal": ("Id of the principal.", TEXT),
        "partition": ("Name of the partition.", TEXT),
        "action": ("Action or sub-type.", TEXT),
        "outcome": ("Outcome of the call.", TEXT),
        "requestId": ("Id of the request.", TEXT),
        "client": ("IP address of the client.", TEXT),
        "includeinvalid": ("Also those that have expired or were revoked.", BOOLEAN),
    }
)
"""`{attributeID}` and `label.{name}` stand for any attribute and label; see `document`."""
