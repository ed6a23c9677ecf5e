"""Generated tables of hand-written pages.

A page has each table between `<!-- table: NAME -->` and `<!-- end -->`; `docs/generate.py` inserts it there.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

from dicomstore.v1 import access_options_pb2, operation_types_pb2
from dicomstore.v1.store_service_pb2 import ValidationMode
from google.protobuf import descriptor_pool
from pydicom.uid import UID

from common.telemetry.metrics import families, labels_of
from docs import dimse_tables
from facade.actions import action_of
from facade.administration import audit, principal, tokens, usage
from facade.administration import operations as operation_lists
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
from facade.request.accept import ANY, STORED, Offer, negotiate, parse_accept
from facade.request.catalogue import CATALOGUE, Product, Resource, Shape
from facade.routes import BARE, DICOM, SERVICE, Row
from facade.serving.websocket import CLOSE_CODES
from facade.sessions import login
from facade.sharing import links, redeem
from facade.versions import ALL_ATTRIBUTES, INSTANCE, SERIES, STUDY, VERSIONS, ApiVersion
from facade.worklist import event_channel, event_stream, rules, search, subscriptions, workitems
from server.dicom.elements.charset import EXTENSION_TERMS, PLAIN_TERMS
from server.dicom.elements.dictionary import keyword
from server.dicom.elements.keywords import path_of
from server.dicom.matching.attributes import SEARCH_KEYS, SearchKey
from server.dicom.matching.matching import WILDCARD_VRS
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.presentation.object_kinds import KIND_OF_CLASS, Kind
from server.dicom.worklist.requirements import REQUIREMENTS, RETURN_KEYS
from server.dicom.worklist.search_keys import SEARCH_KEYS as WORKITEM_SEARCH_KEYS
from server.domain.operations.update import PATIENT_AND_STUDY
from server.domain.render.rendered import ANIMATED, MEDIA_TYPES
from server.rpc.interceptors.declared_actions import ACTIONS, declared_action
from server.rpc.services import SERVICES

_CONVERTOR = re.compile(r":\w+}")
_PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: Path) -> str:
    """Return a page with its tables generated. Raises KeyError for a table that is not in `TABLES`."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n\n{place[3]}", page.read_text())


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(headings)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace("|  |", "| |").replace("|  |", "| |")


# ---------------------------------------------------------------------------------------------------------------------
# Resources and versions

_DESCRIPTIONS: Mapping[Any, str] = {
    stow.store: "[store](#storing)",
    wado.instances: "[retrieve](#retrieving-instances)",
    wado.frames: "[retrieve frames](#frames)",
    wado_uri.retrieve: "[retrieve one object](#wado-uri)",
    rendered.rendered: "[render](#rendered-resources)",
    rendered.rendered_frames: "[render frames](#rendered-resources)",
    rendered.thumbnail: "[thumbnail](#rendered-resources)",
    metadata.metadata: "[retrieve metadata](#metadata)",
    bulk_data.bulk_data: "[retrieve a bulk data value](#bulk-data)",
    bulk_data.all_bulk_data: "[retrieve all bulk data](#bulk-data)",
    bulk_data.pixel_data: "[retrieve pixel data](#bulk-data)",
    qido.all_studies: "[search](#searching) studies",
    qido.all_series: "[search](#searching) series",
    qido.all_instances: "[search](#searching) instances",
    qido.series_of_study: "[search](#searching) series of the study",
    qido.instances_of_study: "[search](#searching) instances of the study",
    qido.instances_of_series: "[search](#searching) instances of the series",
    bulk_update.bulk_update: "[update](#updating)",
    bulk_update.revert_to: "[revert to an earlier state](#versions)",
    export.export: "[export](#export)",
    imports.start_import: "[import](#import)",
    delete.delete: "[delete](#deleting)",
    change_feed.changes: "[list changes](#change-feed)",
    change_feed.latest_change: "[newest change](#change-feed)",
    stream.stream: "[stream of changes](#stream-of-changes)",
    consumers.consumers: "[list consumers](#consumers)",
    consumers.consumer: "[get a consumer](#consumers)",
    consumers.set_position: "[set its position](#consumers)",
    consumers.delete: "[forget it](#consumers)",
    studies.events: "[list events of studies](#events-of-studies)",
    studies.stream: "[stream of events of studies](#events-of-studies)",
    webhooks.webhooks: "[list webhooks](#webhooks)",
    webhooks.create: "[create a webhook](#webhooks)",
    webhooks.webhook: "[get a webhook](#webhooks)",
    webhooks.update: "[change it](#webhooks)",
    webhooks.delete: "[remove it](#webhooks)",
    webhooks.dead_letters: "[list dead letters](#webhooks)",
    webhooks.delete_dead_letters: "[remove dead letters](#webhooks)",
    webhooks.retry: "[send dead letters again](#webhooks)",
    transfers.transfers: "[list transfers](#transfers)",
    transfers.create: "[create a transfer](#transfers)",
    transfers.transfer: "[get a transfer](#transfers)",
    transfers.cancel: "[cancel it](#transfers)",
    transfers.retry: "[begin it again](#transfers)",
    rules.rules: "[list rules](#rules-for-workitems)",
    rules.create: "[create a rule](#rules-for-workitems)",
    rules.rule: "[get a rule](#rules-for-workitems)",
    rules.update: "[change it](#rules-for-workitems)",
    rules.delete: "[remove it](#rules-for-workitems)",
    extended_query_tags.tags: "[list tags](#extended-query-tags)",
    extended_query_tags.add: "[add tags](#extended-query-tags)",
    extended_query_tags.tag: "[get a tag](#extended-query-tags)",
    extended_query_tags.update: "[enable, disable](#extended-query-tags)",
    extended_query_tags.delete: "[delete](#extended-query-tags)",
    extended_query_tags.errors: "[list indexing errors](#extended-query-tags)",
    operations.operation: "[get an operation](#operations)",
    operations.cancel: "[cancel an operation](#operations)",
    operation_lists.operations: "[list operations](#operations)",
    operation_lists.errors: "[list failed items](#operations)",
    audit.events: "[search the audit trail](#administration)",
    tokens.tokens: "[list access tokens](#administration)",
    tokens.create: "[create an access token](#administration)",
    tokens.revoke: "[revoke an access token](#administration)",
    principal.principal: "[who the client is, and what it may do](#administration)",
    usage.usage: "[storage use of partitions](#administration)",
    partitions.partitions: "[list partitions](#partitions)",
    partitions.delete: "[delete a partition](#partitions)",
    versions.versions: "[list versions](#versions)",
    versions.difference: "[what a version changed](#versions)",
    versions.revert: "[revert to a version](#versions)",
    partitions.update: "[set the duplicates policy](#partitions)",
    trash.undelete: "[restore](#deleted-instances)",
    trash.deleted: "[list deletions](#deleted-instances)",
    expiry.expiry: "[get the expiry](#expiry)",
    expiry.set_expiry: "[set the expiry](#expiry)",
    expiry.remove_expiry: "[remove the expiry](#expiry)",
    holds.set_hold: "[set a hold](#holds)",
    holds.release: "[release a hold](#holds)",
    holds.holds_of_resource: "[list holds](#holds)",
    holds.holds: "[list holds](#holds)",
    commitments.request_commitment: "[request storage commitment](#storage-commitment)",
    commitments.result: "[get the result](#storage-commitment)",
    search.search: "[search](#worklist)",
    workitems.create: "[create](#worklist)",
    workitems.retrieve: "[retrieve](#worklist)",
    workitems.update: "[update](#worklist)",
    workitems.change_state: "[claim, complete, cancel](#worklist)",
    workitems.request_cancellation: "[request cancellation](#worklist)",
    subscriptions.subscribe: "[subscribe](#subscriptions)",
    subscriptions.unsubscribe: "[unsubscribe](#subscriptions)",
    subscriptions.suspend: "[suspend a subscription](#subscriptions)",
    subscriptions.subscribers: "[list subscribers](#subscriptions)",
    event_channel.channel: "[event channel](#event-channel)",
    event_stream.stream: "[stream of workitem events](#stream-of-workitem-events)",
    labels.labels: "[get labels](#labels)",
    labels.replace: "[replace labels](#labels)",
    labels.change: "[change labels](#labels)",
    labels.remove: "[remove labels](#labels)",
    links.share: "[share](#share-links)",
    links.share_for_upload: "[share for uploads](#share-links)",
    links.links: "[list share links](#share-links)",
    links.revoke: "[revoke a share link](#share-links)",
    redeem.redeem: "[open a share link](#share-links)",
    login.login: "[log in](#login)",
    login.callback: "[return from the identity provider](#login)",
    login.logout: "[log out](#login)",
    login.link: "page of a [login link](#login)",
    login.redeem_link: "[log in](#login) with a link",
    health.health: "[health](#health)",
    site.root: "the [explorer](explorer.md), or the description of the service as [JSON](#openapi)",
    monitoring.metrics: "[metrics](observability.md#metrics)",
    home.home: "description of the service, HTML or [JSON](#openapi)",
    openapi.as_json: "[OpenAPI](#openapi) as JSON",
    openapi.as_yaml: "[OpenAPI](#openapi) as YAML",
}


def _paths(rows: Iterable[Row]) -> str:
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    assert all(set(row.methods) <= set(methods) for row in (*DICOM, *SERVICE, *BARE))
    return _table(
        ["path", *methods],
        (
            [
                f"`{_CONVERTOR.sub('}', row.path)}`" if row.path else "the version alone",
                *(_DESCRIPTIONS[row.methods[method]] if method in row.methods else "" for method in methods),
            ]
            for row in rows
        ),
    )


def _methods() -> str:
    """Return all paths with their methods."""
    rows = [
        [f"`{base}{_CONVERTOR.sub('}', row.path)}`", ", ".join(row.methods)]
        for base, below in (("{base}", DICOM), ("{base}", SERVICE), ("", BARE))
        for row in below
    ]
    return _table(["resource", "methods"], rows)


_VALIDATION = {
    ValidationMode.VALIDATION_MODE_INDEXED_STRICT: "an invalid value of a searchable attribute fails the instance",
    ValidationMode.VALIDATION_MODE_LENIENT: "only an invalid value of a required attribute fails the instance",
}

_VERSION_ROWS: Mapping[str, tuple[str, Callable[[ApiVersion], str]]] = {
    "validation": (
        "[validation](#validation) when storing",
        lambda version: _VALIDATION[version.validation],
    ),
    "status_with_warnings": (
        "status if all instances are stored, some with a Warning Reason",
        lambda version: str(version.status_with_warnings),
    ),
    "reports_findings": (
        "findings of stored instances (Warning Reason 1, Failed Attributes Sequence)",
        lambda version: "reported" if version.reports_findings else "not reported",
    ),
    "status_of_success": (
        "status of a succeeded [operation](#operations)",
        lambda version: f"`{version.status_of_success}`",
    ),
    "returned_attributes": (
        "attributes returned by a search",
        lambda version: "[many](#returned-attributes)" if version.name == "v1" else "[few](#returned-attributes)",
    ),
    "has_external_metadata": (
        "[external metadata](#external-metadata) in headers",
        lambda version: "stored" if version.has_external_metadata else "ignored",
    ),
    "feed_limit_default": ("change feed: default `limit`", lambda version: str(version.feed_limit_default)),
    "feed_limit_maximum": ("change feed: largest `limit`", lambda version: str(version.feed_limit_maximum)),
    "has_updates": ("[updating](#updating)", lambda version: "possible" if version.has_updates else "404"),
    "feed_is_paged_by_rows": (
        "change feed: `offset` and `limit`",
        lambda version: (
            "count entries; also `startTime`, `endTime`"
            if version.feed_is_paged_by_rows
            else "`offset` < sequence ≤ `offset` + `limit`"
        ),
    ),
}


def _versions() -> str:
    assert {field.name for field in fields(ApiVersion)} == {"name", *_VERSION_ROWS}
    rows = ([text, *(cell(version) for version in VERSIONS.values())] for text, cell in _VERSION_ROWS.values())
    return _table(["", *(f"`/{name}`" for name in VERSIONS)], rows)


# ---------------------------------------------------------------------------------------------------------------------
# Retrieval

_LINE = 140
_UID_ROOT = "1.2.840.10008.1.2"
_DICOM_PARTS = 'multipart/related; type="application/dicom"'
_OCTET_PARTS = 'multipart/related; type="application/octet-stream"'
_EXPLICIT = "; transfer-syntax=1.2.840.10008.1.2.1"
_JPEG_2000 = "; transfer-syntax=1.2.840.10008.1.2.4.90"
_ACCEPTS = {
    Resource.STUDY: (
        *(_DICOM_PARTS, f"{_DICOM_PARTS}; transfer-syntax=*", f"{_DICOM_PARTS}{_EXPLICIT}"),
        *(f"{_DICOM_PARTS}{_JPEG_2000}", "*/*", "application/zip", f"application/zip{_EXPLICIT}", "application/dicom"),
    ),
    Resource.INSTANCE: (
        *("application/dicom", "application/dicom; transfer-syntax=*", _DICOM_PARTS, "*/*", "application/zip"),
        f"application/dicom{_JPEG_2000}, application/dicom{_EXPLICIT}",
        f"application/dicom{_JPEG_2000}, application/dicom{_EXPLICIT}; q=0.5",
    ),
    Resource.FRAMES: (
        *(_OCTET_PARTS, f"{_OCTET_PARTS}; transfer-syntax=*", "application/octet-stream"),
        *('multipart/related; type="image/jp2"', "image/jp2", "image/jp2; transfer-syntax=*"),
        *('multipart/related; type="*/*"', "*/*"),
    ),
    Resource.BULK_DATA: ("*/*", "application/octet-stream", _OCTET_PARTS, "image/jpeg"),
}
_SHAPES = {Shape.SINGLE: "body", Shape.MULTIPART: "parts", Shape.EITHER: "body, parts"}


def _accepts() -> str:
    rows = []
    for resource, texts in _ACCEPTS.items():
        for text in texts:
            answer = _answered(negotiate(resource, parse_accept(text)), named=resource is not Resource.BULK_DATA)
            rows.append([resource.value, f"`{text}`", answer])
    return _table(["resource", "Accept", "answer"], rows)


def _answered(offers: list[Offer], *, named: bool) -> str:
    """Describe the response for `offers`. `named` is false for bulk data, which has a single encoding."""
    if not offers:
        return "406"
    [shape] = {f"{'parts' if offer.multipart else 'one body'} of {_label(offer)}" for offer in offers}
    if not named:
        return shape
    choices = [list(equals) for _, equals in groupby(offers, key=lambda offer: offer.quality)]
    return f"{shape}: {', else '.join(map(_one_of, choices))}"


def _label(offer: Offer) -> str:
    return "the media type of the transfer syntax" if offer.media_type == ANY else f"`{offer.media_type}`"


def _one_of(equals: list[Offer]) -> str:
    """Describe offers of equal quality, of which the stored transfer syntax is preferred."""
    names = [_syntax_name(offer) for offer in equals]
    return f"as stored if in {' or '.join(names)}, else {names[0]}" if len(names) > 1 else names[0]


def _syntax_name(offer: Offer) -> str:
    if offer.transfer_syntax != STORED:
        return _name(offer.transfer_syntax)
    return f"as stored if in {' or '.join(map(_name, offer.only))}" if offer.only else "as stored"


# Newer than pydicom's dictionary.
_NEW_NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}


def _name(uid: str) -> str:
    return _NEW_NAMES.get(uid, UID(uid).name)


def _catalogue() -> str:
    """Return the table of resources, media types, envelopes and transfer syntaxes."""
    rows = (
        [
            resource.value,
            f"`{product.media_type}`",
            _SHAPES[product.shape],
            _contents(resource, product),
        ]
        for resource, products in CATALOGUE.items()
        for product in products
    )
    return _table(["resource", "media type", "as", "transfer syntaxes `1.2.840.10008.1.2…`"], rows)


def _contents(resource: Resource, product: Product) -> str:
    if resource not in (Resource.STUDY, Resource.INSTANCE, Resource.FRAMES):
        return ""
    if product.syntaxes:
        return ", ".join(f"`{uid.removeprefix(_UID_ROOT)}`" for uid in product.syntaxes)
    default = f"`{product.default.removeprefix(_UID_ROOT)}`, else as stored" if product.default else "as stored"
    return f"any; without the parameter {default}"


def _pixel_media_types() -> str:
    rows = (
        [f"`{product.media_type}`", ", ".join(f"`{uid.removeprefix(_UID_ROOT)}`" for uid in product.syntaxes)]
        for product in CATALOGUE[Resource.FRAMES]
        if product.syntaxes
    )
    return _table(["media type", "transfer syntaxes `1.2.840.10008.1.2…`, the default first"], rows)


def _reencoding() -> str:
    both = {*syntaxes.ENCODABLE, *syntaxes.DECODABLE}
    rows = (
        [
            f"{_name(uid)} `{uid}`",
            "yes" if uid in syntaxes.DECODABLE else "",
            "yes" if uid in syntaxes.ENCODABLE else "",
        ]
        for uid in sorted(both, key=lambda uid: [int(part) for part in uid.split(".")])
    )
    return _table(["transfer syntax", "decoding", "encoding"], rows)


_KINDS: Mapping[Kind, str] = {
    Kind.IMAGE: "objects with pixel data: images, segmentations, doses, maps, whole slides",
    Kind.VIDEO: "video: pixel data in a transfer syntax `1.2.840.10008.1.2.4.100` to `.108`",
    Kind.REPORT: "Structured Reports, Key Object Selections, and private classes with a Content Sequence",
    Kind.DOCUMENT: "encapsulated PDF, CDA, STL, OBJ, MTL, and private classes with an Encapsulated Document",
    Kind.WAVEFORM: "waveforms",
    Kind.PRESENTATION: "presentation states, hanging protocols, structured displays",
    Kind.RT_PLAN: "radiotherapy plans, records and instructions",
    Kind.RT_STRUCTURE: "RT Structure Sets",
    Kind.SEGMENTATION: "surfaces, tracts, point clouds, annotations",
    Kind.OTHER: "all others, including images without pixel data",
}


def _rendered_forms() -> str:
    assert set(KIND_OF_CLASS.values()) < set(Kind) == set(_KINDS)
    rows = ([_KINDS[kind], _forms(kind), "an image" if kind is Kind.IMAGE else "an icon"] for kind in Kind)
    return _table(["objects", "`/rendered`", "`/thumbnail`"], rows)


def _forms(kind: Kind) -> str:
    names = MEDIA_TYPES.get(kind, ())
    if kind is Kind.DOCUMENT:
        return "its MIME Type of Encapsulated Document (0042,0012)"
    several = " (several frames)" if kind is Kind.IMAGE else ""
    return ", ".join(f"`{name}`{several if name in ANIMATED else ''}" for name in names) or "406"


# ---------------------------------------------------------------------------------------------------------------------
# Searching

_MATCHINGS = {
    "PN": "name, wildcard, list, fuzzy",
    "UI": "exact, list",
    "DA": "exact, range, list",
    "TM": "exact, range, list",
    "IS": "number, list",
}


def _search_attributes() -> str:
    rows = (
        [key.level.name.lower(), f"`{key.keyword}`", f"`{'.'.join(key.path)}`", key.vr, _matching(key)]
        for key in SEARCH_KEYS.values()
    )
    return _table(["level", "attribute", "tag", "VR", "matching"], rows)


def _matching(key: SearchKey) -> str:
    assert (key.vr in _MATCHINGS) != (key.vr in WILDCARD_VRS - {"PN"})
    return _MATCHINGS.get(key.vr, "exact, wildcard, list")


def _returned_attributes() -> str:
    rows: list[list[str]] = []
    for level, name in ((STUDY, "study"), (SERIES, "series"), (INSTANCE, "instance")):
        sets = [*(version.returned_attributes[level] for version in VERSIONS.values()), ALL_ATTRIBUTES[level]]
        keywords = dict.fromkeys(keyword for keywords in sets for keyword in keywords)
        rows += [
            [name, f"`{keyword}`", *("yes" if keyword in returned else "" for returned in sets)]
            for keyword in sorted(keywords, key=lambda keyword: path_of(keyword) or ())
        ]
    return _table(["level", "attribute", *VERSIONS, "`includefield=all`"], rows)


def _character_sets() -> str:
    kinds = (
        ("Default", ["none, read as ISO 8859-1, a superset of ISO_IR 6"]),
        ("Without code extensions", PLAIN_TERMS),
        ("With code extensions", EXTENSION_TERMS),
    )
    lines = (textwrap.fill(f"* {kind}: {', '.join(names)}.", _LINE, subsequent_indent="  ") for kind, names in kinds)
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# Permissions

_NO_ACTION = {
    access_options_pb2.ACTION_ANONYMOUS: "none",
    access_options_pb2.ACTION_AUTHENTICATED: "any principal",
    access_options_pb2.ACTION_OF_OPERATION_TYPE: "that of the operation type",
}


def _permission(declared: int) -> str:
    return f"`{ACTIONS[declared].value}`" if declared in ACTIONS else _NO_ACTION[declared]


def _rpc_actions() -> str:
    """Return the action of each rpc as the contract declares it."""
    rows = []
    for service in SERVICES:
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            declared = declared_action(f"/{service}/{method.name}")
            rows.append([f"`{service.rpartition('.')[2]}`", f"`{method.name}`", _permission(declared)])
    return _table(["service", "rpc", "action"], rows)


def _operation_type_actions() -> str:
    """Return the action of each operation type that clients can start."""
    rows = [
        [f"`{message.name}`", _permission(message.GetOptions().Extensions[access_options_pb2.start_action])]
        for message in operation_types_pb2.DESCRIPTOR.message_types_by_name.values()
        if message.GetOptions().HasExtension(access_options_pb2.start_action)
    ]
    return _table(["request of the operation type", "action"], rows)


def _route_actions() -> str:
    """Return the action of each resource and method: that of the rpc which the facade calls."""
    rows = [
        [f"`{base}{_CONVERTOR.sub('}', row.path)}`", method, _permission(action_of(endpoint))]
        for base, below in (("{base}", DICOM), ("{base}", SERVICE), ("", BARE))
        for row in below
        for method, endpoint in row.methods.items()
    ]
    return _table(["resource", "method", "action"], rows)


def _updatable() -> str:
    tags = sorted(PATIENT_AND_STUDY)
    rows = [f"{tag[:4]},{tag[4:]} {keyword(tag)}" for tag in tags]
    half = -(-len(rows) // 2)
    return _table(["attribute", "attribute"], zip_longest(rows[:half], rows[half:], fillvalue=""))


def _workitem_attributes() -> str:
    """Return the requirements of PS3.4 Table CC.2.5-3; members of macros are those of their sequences."""
    rows = (
        (
            f"{'>' * one.depth}{keyword(one.path[-1])}",
            f"({one.path[-1][:4]},{one.path[-1][4:]})",
            one.create,
            "not allowed" if one.update == "-" else one.update,
            one.final,
        )
        for one in REQUIREMENTS
    )
    return _table(("attribute", "tag", "create", "update", "final state"), rows)


def _workitem_search_keys() -> str:
    keys = ", ".join(f"`{name}`" for name in WORKITEM_SEARCH_KEYS)
    return textwrap.fill(keys, 240, break_on_hyphens=False)


def _workitem_return_keys() -> str:
    return textwrap.fill(", ".join(RETURN_KEYS.split()), 240) + "."


def _close_codes() -> str:
    """Return the close codes of WebSockets with the reasons that a close frame has."""
    names: dict[int, list[str]] = {}
    for reason, code in CLOSE_CODES.items():
        names.setdefault(code, []).append(f"`{reason}`")
    others = {
        1002: "the client sent a malformed frame",
        1009: "the client sent a too large message",
        1011: "other reasons",
    }
    rows = {code: ", ".join(reasons) for code, reasons in names.items()} | others
    return _table(["close code", "reason"], ([str(code), text] for code, text in sorted(rows.items())))


def _metrics() -> str:
    rows = [
        (f"`{family.name}`", family.kind, ", ".join(f"`{label}`" for label in labels_of(family)), family.text)
        for family in families()
    ]
    return _table(("metric", "kind", "labels", "meaning"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "close-codes": _close_codes,
    "workitem-attributes": _workitem_attributes,
    "workitem-search-keys": _workitem_search_keys,
    "workitem-return-keys": _workitem_return_keys,
    "rendered-forms": _rendered_forms,
    "dicom-paths": lambda: _paths(DICOM),
    "service-paths": lambda: _paths((*SERVICE, *BARE)),
    "methods": _methods,
    "versions": _versions,
    "accepts": _accepts,
    "catalogue": _catalogue,
    "pixel-media-types": _pixel_media_types,
    "reencoding": _reencoding,
    "search-attributes": _search_attributes,
    "returned-attributes": _returned_attributes,
    "character-sets": _character_sets,
    "rpc-actions": _rpc_actions,
    "operation-type-actions": _operation_type_actions,
    "route-actions": _route_actions,
    "updatable": _updatable,
    "metrics": _metrics,
    "dimse-services": lambda: _table(
        ("SOP class", "UID", "requests", "transfer syntaxes"), dimse_tables.service_rows()
    ),
    "dimse-storage": lambda: _table(("SOP class", "UID"), dimse_tables.storage_rows()),
    "dimse-transfer-syntaxes": lambda: _table(("transfer syntax", "UID"), dimse_tables.storage_syntax_rows()),
}
"""By the name that a page uses."""
