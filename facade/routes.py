"""All routes: paths, methods and their endpoints."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from facade.actions import require_permission
from facade.administration import audit, principal, tokens, usage
from facade.administration import operations as operation_lists
from facade.capabilities.description import capabilities
from facade.endpoints import (
    bulk_data,
    change_feed,
    delete,
    extended_query_tags,
    health,
    home,
    metadata,
    openapi,
    operations,
    partitions,
    qido,
    rendered,
    stow,
    wado,
    wado_uri,
)
from facade.endpoints.changes import consumers, stream
from facade.errors import Refusal
from facade.events import studies, webhooks
from facade.explorer import site
from facade.lifecycle import (
    bulk_update,
    commitments,
    expiry,
    export,
    holds,
    imports,
    labels,
    transfers,
    trash,
    versions,
)
from facade.monitoring import metrics as monitoring
from facade.sessions import login
from facade.sharing import links, redeem
from facade.versions import VersionConvertor
from facade.worklist import event_channel, event_stream, rules, search, subscriptions, workitems

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Row:
    """One path below a base, with the endpoint of each method."""

    path: str
    methods: Mapping[str, Endpoint]


_STUDY = "/studies/{study}"
_SERIES = "/studies/{study}/series/{series}"
_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"

_LABELS = {"GET": labels.labels, "PUT": labels.replace, "PATCH": labels.change, "DELETE": labels.remove}

# Below /v1 and /v2, and below /v1/partitions/{partition} and /v2/partitions/{partition}.
DICOM = (
    Row("/studies", {"GET": qido.all_studies, "POST": stow.store, "PUT": stow.store}),
    Row("/series", {"GET": qido.all_series}),
    Row("/instances", {"GET": qido.all_instances}),
    Row(_INSTANCE + "/frames/{frames:frames}", {"GET": wado.frames}),
    Row(_INSTANCE + "/frames/{frames:frames}/rendered", {"GET": rendered.rendered_frames}),
    Row(_INSTANCE + "/frames/{frames:frames}/thumbnail", {"GET": rendered.thumbnail}),
    Row(_INSTANCE + "/rendered", {"GET": rendered.rendered}),
    Row(_INSTANCE + "/thumbnail", {"GET": rendered.thumbnail}),
    Row(_INSTANCE + "/rendered/{frames:frames}", {"GET": rendered.rendered_frames}),
    Row(_INSTANCE + "/thumbnail/{frames:frames}", {"GET": rendered.thumbnail}),
    Row(_INSTANCE + "/metadata", {"GET": metadata.metadata}),
    Row(_INSTANCE + "/bulkdata", {"GET": bulk_data.all_bulk_data}),
    Row(_INSTANCE + "/pixeldata", {"GET": bulk_data.pixel_data}),
    Row(_INSTANCE + "/bulkdata/{path:path}", {"GET": bulk_data.bulk_data}),
    Row(_INSTANCE + "/versions", {"GET": versions.versions}),
    Row(_INSTANCE + "/versions/{number}/difference", {"GET": versions.difference}),
    Row(_INSTANCE + "/versions/{number}/$revert", {"POST": versions.revert}),
    Row(_INSTANCE + "/$undelete", {"POST": trash.undelete}),
    Row(_INSTANCE + "/hold", {"GET": holds.holds_of_resource, "PUT": holds.set_hold, "DELETE": holds.release}),
    Row(_INSTANCE + "/labels", _LABELS),
    Row(_INSTANCE + "/$share", {"POST": links.share}),
    Row(_INSTANCE, {"GET": wado.instances, "DELETE": delete.delete}),
    Row(_SERIES + "/rendered", {"GET": rendered.rendered}),
    Row(_SERIES + "/thumbnail", {"GET": rendered.thumbnail}),
    Row(_SERIES + "/metadata", {"GET": metadata.metadata}),
    Row(_SERIES + "/bulkdata", {"GET": bulk_data.all_bulk_data}),
    Row(_SERIES + "/pixeldata", {"GET": bulk_data.pixel_data}),
    Row(_SERIES + "/instances", {"GET": qido.instances_of_series}),
    Row(_SERIES + "/versions", {"GET": versions.versions}),
    Row(_SERIES + "/$revert", {"POST": bulk_update.revert_to}),
    Row(_SERIES + "/$undelete", {"POST": trash.undelete}),
    Row(_SERIES + "/hold", {"GET": holds.holds_of_resource, "PUT": holds.set_hold, "DELETE": holds.release}),
    Row(_SERIES + "/labels", _LABELS),
    Row(_SERIES + "/$share", {"POST": links.share}),
    Row(_SERIES, {"GET": wado.instances, "DELETE": delete.delete}),
    Row(_STUDY + "/rendered", {"GET": rendered.rendered}),
    Row(_STUDY + "/thumbnail", {"GET": rendered.thumbnail}),
    Row(_STUDY + "/metadata", {"GET": metadata.metadata}),
    Row(_STUDY + "/bulkdata", {"GET": bulk_data.all_bulk_data}),
    Row(_STUDY + "/pixeldata", {"GET": bulk_data.pixel_data}),
    Row(_STUDY + "/series", {"GET": qido.series_of_study}),
    Row(_STUDY + "/instances", {"GET": qido.instances_of_study}),
    Row(_STUDY + "/versions", {"GET": versions.versions}),
    Row(_STUDY + "/$revert", {"POST": bulk_update.revert_to}),
    Row(_STUDY + "/$undelete", {"POST": trash.undelete}),
    Row(_STUDY + "/expiry", {"GET": expiry.expiry, "PUT": expiry.set_expiry, "DELETE": expiry.remove_expiry}),
    Row("/studies/$bulkUpdate", {"POST": bulk_update.bulk_update}),
    Row(_STUDY + "/hold", {"GET": holds.holds_of_resource, "PUT": holds.set_hold, "DELETE": holds.release}),
    Row(_STUDY + "/labels", _LABELS),
    Row(_STUDY + "/$share", {"POST": links.share}),
    Row(_STUDY, {"GET": wado.instances, "POST": stow.store, "PUT": stow.store, "DELETE": delete.delete}),
    Row("/deleted", {"GET": trash.deleted}),
    Row(
        "/commitment-requests/{transaction}",
        {"GET": commitments.result, "POST": commitments.request_commitment},
    ),
    Row("/workitems", {"GET": search.search, "POST": workitems.create}),
    Row("/workitems/stream", {"GET": event_stream.stream}),
    Row(
        "/workitems/{workitem}",
        {"GET": workitems.retrieve, "POST": workitems.update, "PUT": workitems.update},  # some clients use PUT
    ),
    Row("/workitems/{workitem}/state", {"PUT": workitems.change_state}),
    Row("/workitems/{workitem}/state/{requester}", {"PUT": workitems.change_state}),
    Row("/workitems/{workitem}/cancelrequest", {"POST": workitems.request_cancellation}),
    Row("/workitems/{workitem}/cancelrequest/{requester}", {"POST": workitems.request_cancellation}),
    Row(
        "/workitems/{workitem}/subscribers/{aetitle}",
        {"POST": subscriptions.subscribe, "DELETE": subscriptions.unsubscribe},
    ),
    Row("/workitems/{workitem}/subscribers/{aetitle}/suspend", {"POST": subscriptions.suspend}),
    Row("/subscribers", {"GET": subscriptions.subscribers}),
    Row("/subscribers/{aetitle}", {"GET": event_channel.channel}),
    Row("/ws/subscribers/{aetitle}", {"GET": event_channel.channel}),
    Row("/holds", {"GET": holds.holds}),
    Row("/export", {"POST": export.export}),
    Row("/import", {"POST": imports.start_import}),
    Row("/transfers", {"GET": transfers.transfers, "POST": transfers.create}),
    Row("/$share-upload", {"POST": links.share_for_upload}),
    Row("/wado", {"GET": wado_uri.retrieve}),
)

# Below /v1 and /v2 only, because these resources do not belong to a partition.
SERVICE = (
    Row("", {"GET": home.home}),
    Row("/changefeed", {"GET": change_feed.changes}),
    Row("/changefeed/latest", {"GET": change_feed.latest_change}),
    Row("/changefeed/stream", {"GET": stream.stream}),
    Row("/changefeed/consumers", {"GET": consumers.consumers}),
    Row(
        "/changefeed/consumers/{name}",
        {"GET": consumers.consumer, "PUT": consumers.set_position, "DELETE": consumers.delete},
    ),
    Row("/studyevents", {"GET": studies.events}),
    Row("/studyevents/stream", {"GET": studies.stream}),
    Row("/webhooks", {"GET": webhooks.webhooks, "POST": webhooks.create}),
    Row("/webhooks/{webhook}", {"GET": webhooks.webhook, "PATCH": webhooks.update, "DELETE": webhooks.delete}),
    Row(
        "/webhooks/{webhook}/deadletters",
        {"GET": webhooks.dead_letters, "DELETE": webhooks.delete_dead_letters},
    ),
    Row("/webhooks/{webhook}/deadletters/$retry", {"POST": webhooks.retry}),
    Row("/workitemrules", {"GET": rules.rules, "POST": rules.create}),
    Row("/workitemrules/{rule}", {"GET": rules.rule, "PATCH": rules.update, "DELETE": rules.delete}),
    Row(
        "/extendedquerytags",
        {"GET": extended_query_tags.tags, "POST": extended_query_tags.add},
    ),
    Row(
        "/extendedquerytags/{tag}",
        {
            "GET": extended_query_tags.tag,
            "PATCH": extended_query_tags.update,
            "DELETE": extended_query_tags.delete,
        },
    ),
    Row("/extendedquerytags/{tag}/errors", {"GET": extended_query_tags.errors}),
    Row("/operations/{operation}", {"GET": operations.operation, "DELETE": operations.cancel}),
    Row("/transfers/{transfer}", {"GET": transfers.transfer, "DELETE": transfers.cancel}),
    Row("/transfers/{transfer}/$retry", {"POST": transfers.retry}),
    Row("/operations", {"GET": operation_lists.operations}),
    Row("/operations/{operation}/errors", {"GET": operation_lists.errors}),
    Row("/audit", {"GET": audit.events}),
    Row("/tokens", {"GET": tokens.tokens, "POST": tokens.create}),
    Row("/tokens/{token}", {"DELETE": tokens.revoke}),
    Row("/me", {"GET": principal.principal}),
    Row("/usage", {"GET": usage.usage}),
    Row("/partitions", {"GET": partitions.partitions}),
    Row("/partitions/{partition}", {"PATCH": partitions.update, "DELETE": partitions.delete}),
    Row("/shares", {"GET": links.links}),
    Row("/shares/{link}", {"DELETE": links.revoke}),
    Row("/api.json", {"GET": openapi.as_json}),
    Row("/api.yaml", {"GET": openapi.as_yaml}),
)

# Without a version.
BARE = (
    Row("/", {"GET": site.root}),
    Row("/docs", {"GET": home.home}),
    Row("/health/check", {"GET": health.health}),
    Row("/metrics", {"GET": monitoring.metrics}),
    Row("/login", {"GET": login.login}),
    Row("/login/callback", {"GET": login.callback}),
    Row("/login/link/{code}", {"GET": login.link, "POST": login.redeem_link}),
    Row("/logout", {"GET": login.logout, "POST": login.logout}),
    Row("/share/{token}", {"GET": redeem.redeem}),
)


class FramesConvertor(Convertor[str]):
    """A frame list; the endpoint refuses an empty one."""

    regex = "[^/]*"

    def convert(self, value: str) -> str:
        """Return the list as written."""
        return value

    def to_string(self, value: str) -> str:
        """Return the list as written."""
        return value


class Path(Route):
    """A path with all its methods, with or without a trailing slash. Puts its template into the scope for the log.

    Guarantees: an unsupported method is 405 with the supported ones in `Allow`; HEAD is supported wherever GET is, and
    OPTIONS everywhere, without permission, because it describes the service and no data. A
    client without permission gets 401 or 403 even if its request is malformed.
    """

    def __init__(self, base: str, row: Row) -> None:
        """Serve `row` below `base`."""

        self.row = row
        super().__init__(base + row.path, self._serve, methods=[*row.methods, "OPTIONS"])
        # Starlette's own wrapper of endpoints handles exceptions that its middleware for exceptions also handles.
        self.app = self._serve
        # Names that begin with "$" are actions, so that other methods on `/studies/$bulkUpdate` are 405.
        pattern = self.path_regex.pattern.replace("(?P<study>[^/]+)", "(?P<study>[^/$][^/]*)")
        self.path_regex = re.compile(pattern.removesuffix("$") + "/?$")
        self._slashes = None if ":path}" in row.path else self.path_format.count("/")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if scope["method"] == "OPTIONS":
            described = await capabilities(request, self.path_format, frozenset(self.methods or ()))
            await described(scope, receive, send)
            return
        called = self.row.methods["GET" if scope["method"] == "HEAD" else scope["method"]]
        try:
            response = await called(request)
        except Refusal:
            await require_permission(request, called)
            raise
        await response(scope, receive, send)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the path, or path and method, match this route.

        Most routes are ruled out by the number of slashes, which takes a tenth of the time of an expression.
        """
        if self._slashes is not None and not scope.get("root_path"):
            found = scope["path"].count("/")
            if found not in (self._slashes, self._slashes + 1):
                return Match.NONE, {}
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            scope["template"] = self.path_format
        return match, child_scope


def routes() -> list[Path]:
    """Return all routes."""
    register_url_convertor("api", VersionConvertor())
    register_url_convertor("frames", FramesConvertor())
    version = "/{version:api}"
    return [
        *(Path(base, row) for base in (version, version + "/partitions/{partition}") for row in DICOM),
        *(Path(version, row) for row in SERVICE),
        *(Path("", row) for row in BARE),
    ]
