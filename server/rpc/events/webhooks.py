"""WebhookService."""

from dicomstore.v1 import webhook_service_pb2 as pb
from dicomstore.v1 import webhook_service_pb2_grpc

from server.domain.events.webhooks import Found, Webhooks, dead_letter_id
from server.domain.limits import page_size
from server.model.events.webhook import Undelivered
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Implements WebhookService with `Webhooks`."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def CreateWebhook(self, request: pb.CreateWebhookRequest, context: Context) -> pb.CreateWebhookResponse:
        """See the contract."""
        found, secret = await self._webhooks.create(
            context.call,
            url=request.url,
            label=request.label,
            types=request.types,
            partitions=request.partitions,
            secret=request.secret,
        )
        return pb.CreateWebhookResponse(webhook=_webhook(found), secret=secret)

    async def GetWebhook(self, request: pb.GetWebhookRequest, context: Context) -> pb.GetWebhookResponse:
        """See the contract."""
        return pb.GetWebhookResponse(webhook=_webhook(await self._webhooks.get(context.call, request.id)))

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: Context) -> pb.ListWebhooksResponse:
        """See the contract."""
        return pb.ListWebhooksResponse(webhooks=map(_webhook, await self._webhooks.list(context.call)))

    async def UpdateWebhook(self, request: pb.UpdateWebhookRequest, context: Context) -> pb.UpdateWebhookResponse:
        """See the contract."""
        found, secret = await self._webhooks.update(
            context.call,
            request.id,
            url=request.url if request.HasField("url") else None,
            label=request.label if request.HasField("label") else None,
            types=request.types.values if request.HasField("types") else None,
            partitions=request.partitions.values if request.HasField("partitions") else None,
            enabled=request.enabled if request.HasField("enabled") else None,
            rotate_secret=request.rotate_secret,
            secret=request.secret,
        )
        return pb.UpdateWebhookResponse(webhook=_webhook(found), secret=secret)

    async def DeleteWebhook(self, request: pb.DeleteWebhookRequest, context: Context) -> pb.DeleteWebhookResponse:
        """See the contract."""
        await self._webhooks.delete(context.call, request.id)
        return pb.DeleteWebhookResponse()

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """See the contract."""
        page = await self._webhooks.dead_letters(
            context.call, request.webhook_id, request.after_id, page_size(request.page_size)
        )
        return pb.ListDeadLettersResponse(dead_letters=map(_dead_letter, page))

    async def RetryDeadLetters(
        self, request: pb.RetryDeadLettersRequest, context: Context
    ) -> pb.RetryDeadLettersResponse:
        """See the contract."""
        count = await self._webhooks.retry(context.call, request.webhook_id, request.ids)
        return pb.RetryDeadLettersResponse(retried=count)

    async def DeleteDeadLetters(
        self, request: pb.DeleteDeadLettersRequest, context: Context
    ) -> pb.DeleteDeadLettersResponse:
        """See the contract."""
        count = await self._webhooks.forget(context.call, request.webhook_id, request.ids)
        return pb.DeleteDeadLettersResponse(deleted=count)


def _webhook(found: Found) -> pb.Webhook:
    webhook, backlog = found
    health = webhook.health
    return pb.Webhook(
        id=webhook.id,
        url=webhook.url,
        label=webhook.label,
        types=sorted(webhook.filter.types),
        partitions=sorted(webhook.filter.partitions),
        enabled=webhook.is_enabled,
        create_time=convert.timestamp(webhook.created),
        creator=webhook.creator,
        failures=health.failures,
        problem=health.problem,
        last_success_time=convert.timestamp(health.succeeded) if health.succeeded else None,
        waiting=backlog.waiting,
        dead_letters=backlog.dead,
        sequence=webhook.handled.sequence,
    )


def _dead_letter(value: Undelivered) -> pb.DeadLetter:
    return pb.DeadLetter(
        id=dead_letter_id(value),
        event_id=value.event.id,
        type=value.event.type,
        resource=convert.address_message(value.event.resource),
        event_time=convert.timestamp(value.event.time),
        attempts=value.attempts,
        first_attempt_time=convert.timestamp(value.first_attempt) if value.first_attempt else None,
        dead_time=convert.timestamp(value.dead) if value.dead else None,
        problem=value.problem,
    )
