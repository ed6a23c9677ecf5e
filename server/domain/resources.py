"""The error for a resource that does not exist."""

from server.model.errors import NotFound, Reason
from server.model.ids import ORIGINAL, Address, InstanceId, Version
from server.ports.index import InstanceIndex


async def not_found(index: InstanceIndex, address: Address) -> NotFound:
    """Return the error for a missing resource; its reason names the highest missing level."""
    if address.series is None or await _missing(index, Address(address.partition, address.study)):
        return NotFound(Reason.STUDY_NOT_FOUND, "The specified study was not found.")
    if address.instance is None or await _missing(index, Address(address.partition, address.study, address.series)):
        return NotFound(Reason.SERIES_NOT_FOUND, "The specified series was not found.")
    return NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")


async def version_not_found(index: InstanceIndex, instance: InstanceId, version: Version | None) -> NotFound:
    """Return the error for a missing instance or, if the instance exists, for a missing version of it."""
    if version is None or await _missing(index, instance.address):
        return await not_found(index, instance.address)
    return NotFound(Reason.VERSION_NOT_FOUND, "The instance does not have the specified version.", version=str(version))


async def resolved(index: InstanceIndex, address: Address, version: Version | None) -> Version | None:
    """Return the version of an instance that a request means; None means the current one.

    For other resources, and an instance that does not exist, `ORIGINAL` means the current versions.
    """
    if version != ORIGINAL:
        return version
    found = await index.find_originals(address, 0, 1) if address.instance is not None else []
    return found[0].version if found else None


async def _missing(index: InstanceIndex, address: Address) -> bool:
    return await index.state(address) is None
