"""Paths of instances written by `dicomstore get`: named by UIDs, or by patient, study and series.

Names of folders are made from untrusted text of data sets: see `safe_name`.
"""

import hashlib
import json
import re
import unicodedata
from collections import OrderedDict
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import grpc
from dicomstore.v1 import resources_pb2
from dicomstore.v1 import search_service_pb2 as pb
from dicomstore.v1.search_service_pb2_grpc import SearchServiceStub

from cli.connection import CALL_TIMEOUT_S, Target
from cli.errors import Failure
from cli.resources import is_uid
from cli.results.dicom_json import TAGS, cell

KEPT_SERIES = 1000
"""Maximum number of cached folders of series."""

MAX_NAME_LENGTH = 40
"""Maximum characters of a folder name, without its unique digits: three such folders, a file name and the folder of the
download fit into the 260 characters that Windows allows."""

MAX_NAME_BYTES = 120

_RESERVED = re.compile(r'[<>:"/\\|?*]')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
_ATTRIBUTES = (
    "PatientID",
    "PatientName",
    "StudyDate",
    "StudyDescription",
    "SeriesNumber",
    "Modality",
    "SeriesDescription",
)


class LayoutName(StrEnum):
    """Naming of files."""

    UIDS = "uids"
    READABLE = "readable"


class Layout(Protocol):
    """Returns the path of an instance."""

    async def path_of(self, identity: resources_pb2.Address) -> Path:
        """Return a path below the folder of the download: unique for each instance, and always the same.

        Raises:
            Failure: an identifier sent by the core is not a UID.
        """


class UidLayout:
    """STUDY/SERIES/INSTANCE.dcm."""

    async def path_of(self, identity: resources_pb2.Address) -> Path:
        """See `Layout`."""
        study, series, instance = _uids(identity)
        return Path(study, series, f"{instance}.dcm")


class ReadableLayout:
    """PATIENT/DATE STUDY/NUMBER SERIES/INSTANCE.dcm, from the index when the first instance of a series arrives."""

    def __init__(self, target: Target, channel: grpc.aio.Channel) -> None:
        self._target = target
        self._stub = SearchServiceStub(channel)
        self._folders: OrderedDict[tuple[str, str], Path] = OrderedDict()

    async def path_of(self, identity: resources_pb2.Address) -> Path:
        """See `Layout`.

        Raises:
            grpc.aio.AioRpcError: the search in the core failed.
        """
        study, series, instance = _uids(identity)
        folder = self._folders.get((study, series))
        if folder is None:
            folder = folder_of(study, series, await self._attributes(study, series))
            if len(self._folders) == KEPT_SERIES:
                self._folders.popitem(last=False)
            self._folders[study, series] = folder
        return folder / f"{instance}.dcm"

    async def _attributes(self, study: str, series: str) -> dict[str, str]:
        """Return the indexed attributes of a series and its study by keyword; empty values if it was deleted."""
        request = pb.SearchRequest(
            level=pb.QUERY_LEVEL_SERIES,
            scope=resources_pb2.Address(
                partition=self._target.partition, study_instance_uid=study, series_instance_uid=series
            ),
            include_attributes=_ATTRIBUTES,
            page_size=1,
        )
        response = await self._stub.Search(request, metadata=self._target.metadata(), timeout=CALL_TIMEOUT_S)
        elements: dict[str, Any] = json.loads(response.matches[0].dicom_json) if response.matches else {}
        return {keyword: cell(elements.get(TAGS[keyword])) for keyword in _ATTRIBUTES}


def folder_of(study: str, series: str, attributes: dict[str, str]) -> Path:
    """Return the folder of a series for its attributes by keyword.

    Different studies with the same date, or series with the same number, have different folders, because the last eight
    digits of a folder are a hash of its UID. This also works on case-insensitive file systems.
    """

    def named(*keywords: str, otherwise: str) -> str:
        return safe_name(" ".join(filter(None, (attributes.get(keyword, "") for keyword in keywords)))) or otherwise

    patient = named("PatientID", "PatientName", otherwise="no patient")
    of_study = named("StudyDate", "StudyDescription", otherwise="study")
    of_series = named("SeriesNumber", "Modality", "SeriesDescription", otherwise="series")
    return Path(patient, f"{of_study} {_digits(study)}", f"{of_series} {_digits(series)}")


def safe_name(text: str) -> str:
    """Return a text as a file name for any system, or "" if no characters are left.

    The name has no separator and no reserved or invisible character, does not start with `.-~` or end with a dot or
    blank, is not a device name of Windows, and is short. Letters of all languages are kept, composed (NFC). Carets
    become blanks.
    """
    visible = "".join(character if character.isprintable() else "_" for character in unicodedata.normalize("NFC", text))
    plain = " ".join(_RESERVED.sub("_", visible).replace("^", " ").split()).lstrip(".-~ ")
    short = plain[:MAX_NAME_LENGTH].encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip(". ")
    return f"{short}_" if _DEVICES.fullmatch(short.partition(".")[0].rstrip()) else short


def _digits(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:8]


def _uids(identity: resources_pb2.Address) -> tuple[str, str, str]:
    uids = (identity.study_instance_uid, identity.series_instance_uid, identity.sop_instance_uid)
    if not all(map(is_uid, uids)):  # they become a path on this disk
        raise Failure("the core sent an identifier that is not a UID")
    return uids
