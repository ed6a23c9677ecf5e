"""A client of WorkitemService for tests."""

import json
from typing import Any

import grpc
from dicomstore.v1 import workitem_service_pb2 as pb
from dicomstore.v1 import workitem_service_pb2_grpc

from tests.worklist import data_set, tag, text, workitem

IN_PROGRESS, COMPLETED, CANCELED = (
    pb.WORKITEM_STATE_IN_PROGRESS,
    pb.WORKITEM_STATE_COMPLETED,
    pb.WORKITEM_STATE_CANCELED,
)


class WorklistClient:
    """The calls of a performer or scheduler."""

    def __init__(self, channel: grpc.aio.Channel, partition: str = "") -> None:
        self.stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
        self.partition = partition

    async def create(self, uid: str, **values: Any) -> None:
        content = text(workitem(**values))
        await self.stub.CreateWorkitem(
            pb.CreateWorkitemRequest(
                partition=self.partition, workitem_uid=uid, dicom_json=content, create_partition=bool(self.partition)
            )
        )

    async def update(self, uid: str, content: dict[str, Any], transaction: str = "") -> None:
        await self.stub.UpdateWorkitem(
            pb.UpdateWorkitemRequest(
                partition=self.partition, workitem_uid=uid, transaction_uid=transaction, dicom_json=text(content)
            )
        )

    async def change(self, uid: str, state: Any, transaction: str) -> bool:
        """Change the state; return False if it was in this state already."""
        request = pb.ChangeWorkitemStateRequest(
            partition=self.partition, workitem_uid=uid, transaction_uid=transaction, state=state
        )
        return not (await self.stub.ChangeWorkitemState(request)).unchanged

    async def cancel(self, uid: str) -> None:
        request = pb.RequestWorkitemCancellationRequest(partition=self.partition, workitem_uid=uid)
        await self.stub.RequestWorkitemCancellation(request)

    async def get(self, uid: str) -> dict[str, Any]:
        request = pb.GetWorkitemRequest(partition=self.partition, workitem_uid=uid)
        return dict(json.loads((await self.stub.GetWorkitem(request)).dicom_json))

    async def state(self, uid: str) -> str:
        return str((await self.get(uid))[tag("ProcedureStepState")]["Value"][0])

    async def found(self, **values: str) -> set[str]:
        """Return the UIDs that a search finds."""
        terms = [pb.WorkitemTerm(attribute=name, values=[value]) for name, value in values.items()]
        request = pb.SearchWorkitemsRequest(partition=self.partition, terms=terms, page_size=200)
        return {match.workitem_uid for match in (await self.stub.SearchWorkitems(request)).matches}


def label(value: str) -> dict[str, Any]:
    """Return an update of the label."""
    return data_set(ProcedureStepLabel=value)
