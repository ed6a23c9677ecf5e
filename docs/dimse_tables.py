"""Generated tables of the DIMSE gateway: the presentation contexts that it accepts, as its services state them."""

from collections.abc import Iterable

from pydicom._uid_dict import UID_dictionary

from dimse.associations.commands import CommandField
from dimse.associations.requestor import Requestor
from dimse.config import Settings
from dimse.core import Core
from dimse.gateway import limits_of
from dimse.services.registry import services_of
from dimse.services.service import Service
from dimse.services.storage.sop_classes import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES

Row = tuple[str, ...]


def _services() -> list[Service]:
    settings = Settings.model_construct()  # the defaults
    return services_of(settings, Core(settings), Requestor(settings, limits_of(settings), None), lambda *_: None)


def service_rows() -> Iterable[Row]:
    """Yield name, UID, requests and transfer syntaxes of each SOP class that is not one of storage."""
    services = _services()
    for uid, entry in UID_dictionary.items():
        serving = [service for service in services if service.transfer_syntaxes(uid)]
        if not serving or uid in STORAGE_SOP_CLASSES:
            continue
        requests = [CommandField(field).name.replace("_", "-") for service in serving for field in service.commands]
        syntaxes = dict.fromkeys(name for service in serving for name in service.transfer_syntaxes(uid))
        names = [str(UID_dictionary[syntax][0]) for syntax in syntaxes]
        yield str(entry[0]), f"`{uid}`", ", ".join(dict.fromkeys(requests)), ", ".join(names)


def storage_rows() -> Iterable[Row]:
    """Yield name and UID of each storage SOP class."""
    for uid in STORAGE_SOP_CLASSES:
        name = str(UID_dictionary[uid][0]) if uid in UID_dictionary else STORAGE_SOP_CLASSES[uid]
        is_retired = uid in UID_dictionary and UID_dictionary[uid][3] == "Retired"
        yield f"{name} (retired)" if is_retired else name, f"`{uid}`"


def storage_syntax_rows() -> Iterable[Row]:
    """Yield name and UID of each transfer syntax for storage."""
    for uid, name in TRANSFER_SYNTAXES.items():
        yield f"{name} (retired)" if UID_dictionary[uid][3] == "Retired" else name, f"`{uid}`"
