"""Creating, changing and removing webhooks, and their dead letters (docs/events.md)."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.signal import Signal
from server.model.access import Action
from server.model.call import Call
from server.model.errors import Exhausted, InvalidRequest, NotFound, Reason
from server.model.events.webhook import (
    Backlog,
    EventPosition,
    EventType,
    Undelivered,
    Webhook,
    WebhookFilter,
    key_of,
    new_secret,
    new_webhook_id,
)
from server.model.ids import PartitionName, parse_partition_name
from server.ports.events.webhooks import Webhooks as Record

MAX_WEBHOOKS = 100
"""Number of webhooks of an archive."""

_MAX_URL_LENGTH = 2048
_MAX_LABEL_LENGTH = 128
_MAX_PARTITIONS = 100
_MAX_IDS = 1000
_DEAD_LETTER_ID = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")

Found = tuple[Webhook, Backlog]


class Webhooks:
    """The webhooks, from the administrator's view. All operations require the action administer in the whole archive.

    Args:
        permits_http: whether URLs may be http.
        permits_host: returns whether events may be sent to the host of a URL; True for a name.
        changed: announces changes.
    """

    def __init__(
        self,
        *,
        access: Access,
        record: Record,
        partitions: PartitionNames,
        now: Callable[[], datetime],
        permits_http: bool,
        permits_host: Callable[[str], bool],
        changed: Signal,
    ) -> None:
        self._access = access
        self._record = record
        self._partitions = partitions
        self._now = now
        self._permits_http = permits_http
        self._permits_host = permits_host
        self._changed = changed

    async def create(
        self, call: Call, *, url: str, label: str, types: Sequence[str], partitions: Sequence[str], secret: str
    ) -> tuple[Found, str]:
        """Create a webhook; return it and its secret.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PARTITION_NAME.
            WrongState: PARTITIONS_DISABLED.
            Exhausted: TOO_MANY_WEBHOOKS.
        """
        webhook_id = new_webhook_id()
        facts = {"label": label, "types": list(types), "partitions": list(partitions)}
        call.audit.note(webhook=webhook_id, host=_host(url), **facts)
        await self._access.permit_archive(call, Action.ADMINISTER)
        webhook = Webhook(
            id=webhook_id,
            url=self._url(url),
            secrets=(_secret(secret),),
            label=_label(label),
            filter=WebhookFilter(_types(types), self._names(partitions)),
            is_enabled=True,
            creator=call.principal.id,
            created=self._now(),
        )
        if not await self._record.add(webhook, MAX_WEBHOOKS):
            raise Exhausted(Reason.TOO_MANY_WEBHOOKS, f"An archive may have {MAX_WEBHOOKS} webhooks.")
        self._changed.notify()
        return await self._found(webhook_id), webhook.secrets[0]

    async def list(self, call: Call) -> Sequence[Found]:
        """Return all webhooks, in order of creation."""
        await self._access.permit_archive(call, Action.ADMINISTER)
        webhooks, backlogs = await self._record.list(), await self._record.backlogs()
        return [(webhook, backlogs.get(webhook.id, Backlog())) for webhook in webhooks]

    async def get(self, call: Call, webhook_id: str) -> Found:
        """Return a webhook. Raises NotFound (WEBHOOK_NOT_FOUND)."""
        await self._access.permit_archive(call, Action.ADMINISTER)
        return await self._found(webhook_id)

    async def update(
        self,
        call: Call,
        webhook_id: str,
        *,
        url: str | None = None,
        label: str | None = None,
        types: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
        enabled: bool | None = None,
        rotate_secret: bool = False,
        secret: str = "",
    ) -> tuple[Found, str]:
        """Change a webhook; return it and its new secret, or "". None changes nothing.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PARTITION_NAME.
            WrongState: PARTITIONS_DISABLED.
            NotFound: WEBHOOK_NOT_FOUND.
        """
        facts = {
            "host": None if url is None else _host(url),
            "label": label,
            "types": None if types is None else list(types),
            "partitions": None if partitions is None else list(partitions),
            "enabled": enabled,
        }
        changed = {name: value for name, value in facts.items() if value is not None}
        call.audit.note(webhook=webhook_id, secret_changed=rotate_secret, **changed)
        await self._access.permit_archive(call, Action.ADMINISTER)
        webhook, _ = await self._found(webhook_id)
        if secret and not rotate_secret:
            raise _invalid("secret", "A new secret requires rotate_secret.")
        chosen = webhook.filter
        if types is not None:
            chosen = replace(chosen, types=_types(types))
        if partitions is not None:
            chosen = replace(chosen, partitions=self._names(partitions))
        webhook = replace(
            webhook,
            url=webhook.url if url is None else self._url(url),
            label=webhook.label if label is None else _label(label),
            filter=chosen,
            is_enabled=webhook.is_enabled if enabled is None else enabled,
            secrets=(_secret(secret), webhook.secrets[0]) if rotate_secret else webhook.secrets,
        )
        if not await self._record.replace(webhook):
            raise _unknown()
        self._changed.notify()
        return await self._found(webhook_id), webhook.secrets[0] if rotate_secret else ""

    async def delete(self, call: Call, webhook_id: str) -> None:
        """Remove a webhook. Raises NotFound (WEBHOOK_NOT_FOUND)."""
        call.audit.note(webhook=webhook_id)
        await self._access.permit_archive(call, Action.ADMINISTER)
        if not await self._record.remove(webhook_id):
            raise _unknown()
        self._changed.notify()

    async def dead_letters(self, call: Call, webhook_id: str, after: str, limit: int) -> Sequence[Undelivered]:
        """Return dead letters after one of them, in order.

        Raises:
            InvalidRequest: INVALID_FIELD.
            NotFound: WEBHOOK_NOT_FOUND.
        """
        call.audit.note(webhook=webhook_id)
        await self._access.permit_archive(call, Action.ADMINISTER)
        position = _position(after, "after_id") if after else EventPosition(0)
        await self._found(webhook_id)
        return await self._record.dead(webhook_id, position, limit)

    async def retry(self, call: Call, webhook_id: str, ids: Sequence[str]) -> int:
        """Send dead letters again, all if there are no ids; return their number. Raises: as `dead_letters`."""
        positions = await self._chosen(call, webhook_id, ids)
        count = await self._record.retry(webhook_id, positions, self._now())
        call.audit.items = count
        self._changed.notify()
        return count

    async def forget(self, call: Call, webhook_id: str, ids: Sequence[str]) -> int:
        """Remove dead letters, all if there are no ids; return their number. Raises: as `dead_letters`."""
        positions = await self._chosen(call, webhook_id, ids)
        call.audit.items = count = await self._record.forget(webhook_id, positions)
        return count

    async def _chosen(self, call: Call, webhook_id: str, ids: Sequence[str]) -> Sequence[EventPosition] | None:
        call.audit.note(webhook=webhook_id, dead_letters=list(ids))
        await self._access.permit_archive(call, Action.ADMINISTER)
        if len(ids) > _MAX_IDS:
            raise _invalid("ids", f"At most {_MAX_IDS} ids are possible.")
        positions = [_position(one, "ids") for one in ids]
        await self._found(webhook_id)
        return positions or None

    async def _found(self, webhook_id: str) -> Found:
        webhook = await self._record.find(webhook_id)
        if webhook is None:
            raise _unknown()
        backlogs: Mapping[str, Backlog] = await self._record.backlogs()
        return webhook, backlogs.get(webhook_id, Backlog())

    def _url(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            is_complete = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_complete = False
        schemes = ("https", "http") if self._permits_http else ("https",)
        if not is_complete or not (url.isascii() and url.isprintable()) or " " in url or len(url) > _MAX_URL_LENGTH:
            raise _invalid("url", "The URL is not valid.")
        if parts.scheme not in schemes:
            raise _invalid("url", "The URL must be https; setting webhook_http also permits http.")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise _invalid("url", "The URL must have no user, password or fragment.")
        if not self._permits_host(parts.hostname or ""):
            message = "The address is one to which events are not sent; setting webhook_networks permits exceptions."
            raise _invalid("url", message)
        return url

    def _names(self, partitions: Sequence[str]) -> frozenset[PartitionName]:
        if len(partitions) > _MAX_PARTITIONS:
            raise _invalid("partitions", f"At most {_MAX_PARTITIONS} partitions are possible.")
        names = frozenset(parse_partition_name(name, "partitions") for name in partitions)
        if names:
            self._partitions.require_enabled()
        return names


def _host(url: str) -> str:
    """Return host and port of a URL, for the audit trail: the other parts may have secrets; "" if it is not valid."""
    with suppress(ValueError):
        return urlsplit(url).netloc.rpartition("@")[2]
    return ""


def _types(types: Sequence[str]) -> frozenset[EventType]:
    try:
        return frozenset(map(EventType, types))
    except ValueError:
        raise _invalid("types", f"A type is one of {', '.join(EventType)}.") from None


def _label(label: str) -> str:
    if len(label) > _MAX_LABEL_LENGTH or not label.isprintable():
        raise _invalid("label", f"A label has at most {_MAX_LABEL_LENGTH} printable characters.")
    return label


def _secret(secret: str) -> str:
    if not secret:
        return new_secret()
    try:
        key_of(secret)
    except ValueError as error:
        raise _invalid("secret", str(error)) from None
    return secret


def dead_letter_id(undelivered: Undelivered) -> str:
    """Return the id of a dead letter among those of its webhook."""
    return str(undelivered.event.position)


def _position(dead_letter: str, field: str) -> EventPosition:
    match = _DEAD_LETTER_ID.fullmatch(dead_letter)
    if match is None:
        raise _invalid(field, "This is not the id of a dead letter.")
    return EventPosition(int(match[1]), int(match[2]))


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)


def _unknown() -> NotFound:
    return NotFound(Reason.WEBHOOK_NOT_FOUND, "The specified webhook does not exist.")
