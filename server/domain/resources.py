"""From the words of a request to an address, and from a missing address to the right "not found"."""

from server.domain.partitions import PartitionGate
from server.model.errors import InvalidRequest, NotFound, Reason
from server.model.ids import Address, InstanceId, parse_uid
from server.ports.index import InstanceIndex


async def parse_resource(gate: PartitionGate, partition: str, study: str, series: str, instance: str) -> Address:
    """Return the address of a study, series or instance.

    Raises:
        InvalidRequest: INVALID_UID; INVALID_FIELD when a level is left out.
        and the partition reasons of `PartitionGate.resolve`.
    """
    if not study or (instance and not series):
        missing = "series_instance_uid" if study else "study_instance_uid"
        raise InvalidRequest(Reason.INVALID_FIELD, f"{missing} is required.", field=missing)
    study_uid = parse_uid(study, "study_instance_uid")
    series_uid = parse_uid(series, "series_instance_uid") if series else None
    instance_uid = parse_uid(instance, "sop_instance_uid") if instance else None
    return Address(await gate.resolve(partition), study_uid, series_uid, instance_uid)


async def parse_instance(gate: PartitionGate, partition: str, study: str, series: str, instance: str) -> InstanceId:
    """Return the address of one instance. Raises: as `parse_resource`."""
    if not instance:
        raise InvalidRequest(Reason.INVALID_FIELD, "sop_instance_uid is required.", field="sop_instance_uid")
    ref = await parse_resource(gate, partition, study, series, instance)
    assert ref.study
    assert ref.series
    assert ref.instance
    return InstanceId(ref.partition, ref.study, ref.series, ref.instance)


async def not_found(index: InstanceIndex, ref: Address) -> NotFound:
    """Return the error for a resource that is not there, naming the outermost level that is missing."""
    if ref.series is None or await _missing(index, Address(ref.partition, ref.study)):
        return NotFound(Reason.STUDY_NOT_FOUND, "The specified study was not found.")
    if ref.instance is None or await _missing(index, Address(ref.partition, ref.study, ref.series)):
        return NotFound(Reason.SERIES_NOT_FOUND, "The specified series was not found.")
    return NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")


async def _missing(index: InstanceIndex, ref: Address) -> bool:
    return await index.state(ref) is None
