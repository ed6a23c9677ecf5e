"""C-STORE (PS3.4 Annex B)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.retrieve_service_pb2 import RetrieveInstancesRequest, RetrieveMetadataRequest
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_INSTANCE, SearchRequest, Term
from dicomstore.v1.store_service_pb2_grpc import StoreServiceStub
from pynetdicom import AE
from pynetdicom.presentation import build_context

from dimse.associations.commands import Command, CommandField
from dimse.core import Core
from dimse.services.storage.sop_classes import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from tests.core import store_requests
from tests.corpus import corpus
from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    SECONDARY_CAPTURE,
    dataset,
    file_of,
    new_uid,
    part10,
)
from tests.integration.dimse.clients import associated, data_set_of, send, store
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.ports import free_port

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE_CLASS, PRIVATE_SYNTAX = "1.2.826.0.1.3680043.10.1.4711", "1.2.826.0.1.3680043.10.1.4712"


def instances(core: Core, instance: str, partition: str = "") -> list[Address]:
    """Return the stored instances with a SOP Instance UID."""
    terms = [Term(attribute="SOPInstanceUID", values=[instance])]
    found = core.search.Search(
        SearchRequest(scope=Address(partition=partition), level=QUERY_LEVEL_INSTANCE, terms=terms), timeout=20
    )
    for match in found.matches:
        match.resource.partition = partition  # which has a name, too, while partitions are disabled
    return [match.resource for match in found.matches]


def retrieved(core: Core, resource: Address) -> bytes:
    """Return the bytes of a stored instance."""
    responses = core.retrieve.RetrieveInstances(RetrieveInstancesRequest(resource=resource), timeout=20)
    return b"".join(piece.data for response in responses for piece in response.pieces)


def metadata(core: Core, resource: Address) -> Any:
    """Return the metadata of a stored instance."""
    responses = core.retrieve.RetrieveMetadata(RetrieveMetadataRequest(resource=resource), timeout=20)
    [found] = [json.loads(item.dicom_json) for response in responses for item in response.items]
    return found


def stored_by_grpc(core: Core, file: bytes, partition: str) -> Any:
    """Store a file as it is, as STOW does; return the outcome."""
    requests = store_requests([file], address=Address(partition=partition), create_partition=bool(partition))
    responses = StoreServiceStub(core.channel).StoreInstances(iter(requests))
    [outcome] = [one for response in responses for one in response.outcomes]
    return outcome


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
def test_an_instance_is_stored_with_the_bytes_of_its_data_set(gateway: RunningGateway, syntax: str) -> None:
    uid = new_uid()
    file = part10(SOPInstanceUID=uid, transfer_syntax=syntax, frames=[bytes(range(200)) * 20])
    response = store(gateway.port, file, SECONDARY_CAPTURE, uid)
    assert response.status == 0
    assert response.affected_sop_instance_uid == uid
    [resource] = instances(gateway.gateway.core, uid)
    found = data_set_of(retrieved(gateway.gateway.core, resource))
    assert found == data_set_of(file)


def test_a_large_instance_is_stored_in_pieces(gateway: RunningGateway) -> None:
    uid = new_uid()
    frames = [bytes([number]) * 1_000_000 for number in range(4)]
    file = part10(SOPInstanceUID=uid, frames=frames, Rows=1000, Columns=1000)
    assert store(gateway.port, file, SECONDARY_CAPTURE, uid).status == 0
    [resource] = instances(gateway.gateway.core, uid)
    assert data_set_of(retrieved(gateway.gateway.core, resource)) == data_set_of(file)


def test_the_same_instance_again_is_a_success_and_another_one_with_its_uids_a_duplicate(
    gateway: RunningGateway,
) -> None:
    uid = new_uid()
    first, other = part10(SOPInstanceUID=uid), part10(SOPInstanceUID=uid, PatientID="P2")
    assert store(gateway.port, first, SECONDARY_CAPTURE, uid).status == 0
    assert store(gateway.port, first, SECONDARY_CAPTURE, uid, calling="OTHER").status == 0
    response = store(gateway.port, other, SECONDARY_CAPTURE, uid)
    assert response.status == 0x0111
    assert response.error_comment
    assert store(gateway.port, first, SECONDARY_CAPTURE, uid).status == 0


@pytest.mark.parametrize("size", [100, 2_000_000])
def test_an_instance_that_was_stored_with_other_file_meta_information_is_a_success(
    gateway: RunningGateway, size: int
) -> None:
    uid = new_uid()
    pixels: dict[str, Any] = {"frames": [bytes(size)], "Rows": 100, "Columns": size // 100}
    file, other = (part10(SOPInstanceUID=uid, PatientID=patient, **pixels) for patient in ("P1", "P2"))
    assert stored_by_grpc(gateway.gateway.core, file, "").HasField("stored")
    assert store(gateway.port, file, SECONDARY_CAPTURE, uid).status == 0
    assert store(gateway.port, other, SECONDARY_CAPTURE, uid).status == 0x0111
    assert store(gateway.port, file, SECONDARY_CAPTURE, uid).status == 0


def test_identifiers_that_differ_from_those_of_the_command_are_a_mismatch(gateway: RunningGateway) -> None:
    syntax, data_set = data_set_of(part10())
    with associated(gateway.port, (SECONDARY_CAPTURE, syntax), (CT, syntax)) as association:
        uid = new_uid()
        assert send(association, SECONDARY_CAPTURE, uid, syntax, data_set).status == 0xA900
        assert send(association, CT, uid, syntax, data_set).status == 0xA900
        assert instances(gateway.gateway.core, uid) == []


def test_an_unreadable_data_set_cannot_be_understood_and_the_association_continues(gateway: RunningGateway) -> None:
    syntax, data_set = data_set_of(part10(SOPInstanceUID="1.2.3.4.1", frames=[bytes(1000)]))
    with associated(gateway.port, (SECONDARY_CAPTURE, syntax)) as association:
        assert send(association, SECONDARY_CAPTURE, "1.2.3.4.1", syntax, data_set[:-2000]).status == 0xC000
        assert send(association, SECONDARY_CAPTURE, "1.2.3.4.1", syntax, data_set).status == 0


def test_an_instance_without_study_cannot_be_understood(gateway: RunningGateway) -> None:
    uid = new_uid()
    file = part10(SOPInstanceUID=uid, StudyInstanceUID=None)
    assert store(gateway.port, file, SECONDARY_CAPTURE, uid).status == 0xC000


def test_another_sop_class_than_that_of_the_context_is_not_supported(gateway: RunningGateway) -> None:
    uid = new_uid()
    syntax, data_set = data_set_of(part10(SOPInstanceUID=uid))
    with associated(gateway.port, (CT, syntax)) as association:
        [context] = association.contexts.values()
        request = Command(
            CommandField.C_STORE, affected_sop_class_uid=SECONDARY_CAPTURE, affected_sop_instance_uid=uid, priority=0
        )
        assert association.perform(context, request, [data_set]).status == 0x0122


def test_all_storage_sop_classes_and_transfer_syntaxes_of_the_standard_are_accepted(gateway: RunningGateway) -> None:
    classes, syntaxes = list(STORAGE_SOP_CLASSES), list(TRANSFER_SYNTAXES)
    assert len(classes) > 180
    assert len(syntaxes) > 40
    pairs = [(sop_class, syntaxes[number % len(syntaxes)]) for number, sop_class in enumerate(classes)]
    for start in range(0, len(pairs), 128):
        part = pairs[start : start + 128]
        with associated(gateway.port, *part) as association:
            found = [(context.abstract_syntax, context.transfer_syntax) for context in association.contexts.values()]
            assert found == part


def test_a_context_with_several_transfer_syntaxes_gets_an_uncompressed_one(gateway: RunningGateway) -> None:
    ae = AE("TESTER")
    jpeg, jpeg_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
    proposed = ([jpeg, IMPLICIT_LITTLE, EXPLICIT_LITTLE], [IMPLICIT_LITTLE, jpeg], [jpeg_2000, jpeg])
    ae.requested_contexts = [build_context(CT, syntaxes) for syntaxes in proposed]
    association = ae.associate("127.0.0.1", gateway.port, ae_title="DICOMSTORE")
    assert [context.transfer_syntax for context in association.accepted_contexts] == [
        [EXPLICIT_LITTLE],
        [IMPLICIT_LITTLE],
        [jpeg_2000],
    ]
    association.release()


def test_pynetdicom_stores(gateway: RunningGateway) -> None:
    made = dataset()
    ae = AE("TESTER")
    ae.add_requested_context(SECONDARY_CAPTURE, EXPLICIT_LITTLE)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="DICOMSTORE")
    file_of(made)  # adds the file meta information
    assert association.send_c_store(made).Status == 0
    association.release()
    assert len(instances(gateway.gateway.core, made.SOPInstanceUID)) == 1


@pytest.fixture(scope="module")
def versioned(module_path: Path) -> Iterator[RunningGateway]:
    """An archive with partitions that makes versions of duplicates, with private classes, and limits."""
    with (
        running_core(module_path / "versioned", partitions=True, duplicates="new-version") as core,
        running_gateway(
            core,
            ae_partitions={"OTHER": "other"},
            dimse_partition="dimse",
            storage_sop_classes=PRIVATE_CLASS,
            storage_transfer_syntaxes=f"{PRIVATE_SYNTAX},1.2.3",
        ) as running,
    ):
        yield running


def test_private_sop_classes_and_transfer_syntaxes_are_accepted_by_configuration(versioned: RunningGateway) -> None:
    with associated(versioned.port, (PRIVATE_CLASS, EXPLICIT_LITTLE), (CT, PRIVATE_SYNTAX)) as association:
        assert len(association.contexts) == 2
    uid = new_uid()
    file = part10(SOPClassUID=PRIVATE_CLASS, SOPInstanceUID=uid)
    assert store(versioned.port, file, PRIVATE_CLASS, uid).status == 0


def test_an_instance_goes_to_the_partition_of_the_called_ae_title(versioned: RunningGateway) -> None:
    uid = new_uid()
    file = part10(SOPInstanceUID=uid)
    core = versioned.gateway.core
    assert store(versioned.port, file, SECONDARY_CAPTURE, uid).status == 0
    assert len(instances(core, uid, "dimse")) == 1
    assert store(versioned.port, file, SECONDARY_CAPTURE, uid, called="OTHER").status == 0
    assert len(instances(core, uid, "other")) == 1


def test_duplicates_follow_the_policy_of_the_partition(versioned: RunningGateway) -> None:
    uid = new_uid()
    for patient in ("P1", "P2"):
        file = part10(SOPInstanceUID=uid, PatientID=patient)
        assert store(versioned.port, file, SECONDARY_CAPTURE, uid).status == 0
    [resource] = instances(versioned.gateway.core, uid, "dimse")
    assert metadata(versioned.gateway.core, resource)["00100020"]["Value"] == ["P2"]


def test_the_corpus_is_stored_as_by_stow(versioned: RunningGateway) -> None:
    """Data sets are stored byte for byte, with the same metadata as if the file had been stored over DICOMweb."""
    core, compared = versioned.gateway.core, 0
    for path in corpus():
        file = path.read_bytes()
        outcome = stored_by_grpc(core, file, "stow")
        if not outcome.HasField("stored") or outcome.stored.sop_class_uid not in STORAGE_SOP_CLASSES:
            continue
        stow = outcome.stored
        response = store(versioned.port, file, stow.sop_class_uid, stow.id.sop_instance_uid)
        assert response.status == 0, (path, response)
        address = Address()
        address.CopyFrom(stow.id)
        address.partition = "dimse"
        assert data_set_of(retrieved(core, address)) == data_set_of(file), path
        found, expected = metadata(core, address), metadata(core, stow.id)
        assert json.dumps(found).replace("partitions/dimse", "partitions/stow") == json.dumps(expected), path
        compared += 1
    assert compared > 150


def test_an_unavailable_core_lets_the_peer_retry(module_path: Path) -> None:
    uid = new_uid()
    syntax, data_set = data_set_of(part10(SOPInstanceUID=uid))
    with (
        running_gateway("127.0.0.1:1") as running,
        associated(running.port, (SECONDARY_CAPTURE, syntax)) as association,
    ):
        assert send(association, SECONDARY_CAPTURE, uid, syntax, data_set).status == 0xA700
        assert send(association, SECONDARY_CAPTURE, uid, syntax, data_set).status == 0xA700


def test_a_restart_of_the_core_between_two_instances_is_not_seen(module_path: Path) -> None:
    first, second = new_uid(), new_uid()
    syntax, data_set = data_set_of(part10(SOPInstanceUID=first))
    _, other = data_set_of(part10(SOPInstanceUID=second))
    port = free_port()
    with running_gateway(f"127.0.0.1:{port}") as running, associated(running.port, (SECONDARY_CAPTURE, syntax)) as peer:
        with running_core(module_path / "restarted", grpc=f"127.0.0.1:{port}"):
            assert send(peer, SECONDARY_CAPTURE, first, syntax, data_set).status == 0
        with running_core(module_path / "restarted", grpc=f"127.0.0.1:{port}"):
            grpc.channel_ready_future(running.gateway.core.channel).result(10)
            assert send(peer, SECONDARY_CAPTURE, second, syntax, other).status == 0
            assert len(instances(running.gateway.core, second)) == 1
