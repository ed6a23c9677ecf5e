"""The checks of `dicomstore-server check`: settings, disk, database, and whether index, blobs and change feed agree."""

import asyncio
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.counting import counted
from server import opening
from server.bootstrap import maintenance
from server.bootstrap.components import issuers_of
from server.config import Settings
from server.model.errors import DicomStoreError
from server.model.lifecycle.transfer import TransferState
from server.model.storage.scrub import ScrubPosition
from server.opening import StartError


async def checks(settings: Settings, *, deep: bool) -> list[dict[str, Any]]:
    """Return an entry for each check: `name`, `status` (ok, warning or failed), `detail`, and `examples` if any."""
    archive, is_usable = await asyncio.to_thread(_archive, settings)
    schema = await asyncio.to_thread(_schema, settings)
    results = [_disk(settings), archive, *await _object_store(settings), schema]
    results += await asyncio.to_thread(_adopted_folders, settings)
    results += await _identity_providers(settings)
    if is_usable and schema["status"] == "ok":
        results.append(await _operations(settings))
        results.append(await _clock(settings))
        results += await _webhooks(settings)
        results += await _workitem_rules(settings)
        results += await _transfers(settings)
        results += await _agreement(settings, deep=deep)
    return results


def _disk(settings: Settings) -> dict[str, Any]:
    """Report the free space of the directory that has the least."""
    try:
        found = []
        for directory in opening.directories(settings):
            directory.mkdir(parents=True, exist_ok=True)
            found.append(shutil.disk_usage(directory))
        usage = min(found, key=lambda usage: usage.free)
    except StartError as error:
        return _entry("disk", "failed", str(error))
    except OSError as error:
        return _entry("disk", "failed", f"The data directory can't be used: {error.strerror}.")
    free = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB"
    return _entry("disk", "ok" if usage.free >= settings.warn_free_bytes else "warning", free)


def _archive(settings: Settings) -> tuple[dict[str, Any], bool]:
    """Compare data directory and index; also return whether their content can be examined."""
    try:
        lost = opening.check_binding(settings)
    except (StartError, DicomStoreError) as error:
        return _entry("archive", "failed", str(error)), False
    if lost:
        return _entry("archive", "failed", f"read-only: {lost}"), True
    return _entry("archive", "ok", "blobs and index belong together"), True


async def _object_store(settings: Settings) -> list[dict[str, Any]]:
    """Report whether blobs can be written, if they are not on a disk of this machine."""
    scheme, _, place = settings.blobs_url.partition("://")
    if scheme in ("file", "memory"):
        return []
    try:
        await maintenance.check_blobs(settings)
    except (StartError, DicomStoreError, ValueError) as error:
        return [_entry("object store", "failed", str(error))]
    return [_entry("object store", "ok", f"{scheme}://{place} can be read and written")]


def _adopted_folders(settings: Settings) -> list[dict[str, Any]]:
    """Report the adopted folders that do not exist, or are empty as a mount point without the share."""
    if not settings.adopted_folders:
        return []
    away = [name for name, folder in settings.adopted_folders.items() if not _has_files(folder)]
    count = counted(len(settings.adopted_folders), "folder")
    if away:
        return [
            _entry("adopted folders", "failed", f"{len(away)} of {count} cannot be read or empty: {', '.join(away)}")
        ]
    return [_entry("adopted folders", "ok", f"{count} can be read")]


def _has_files(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _schema(settings: Settings) -> dict[str, Any]:
    try:
        schema = opening.schema_state(settings)
    except (DicomStoreError, ValueError) as error:
        return _entry("database", "failed", str(error))
    if schema.is_usable:
        return _entry("database", "ok", f"schema {schema.present}")
    detail = f"schema {schema.present or 'none'}, wanted {schema.wanted}"
    remedy = "use the newer release that migrated it" if schema.is_newer else "run `dicomstore migrate`"
    return _entry("database", "failed", f"{detail}: {remedy}")


async def _identity_providers(settings: Settings) -> list[dict[str, Any]]:
    """Report whether the keys of the identity providers can be fetched."""
    issuers = issuers_of(settings)
    if issuers is None:
        return []
    async with issuers:
        try:
            counts = await issuers.fetch_all()
        except DicomStoreError as error:
            return [_entry("identity provider", "failed", error.message)]
    detail = ", ".join(f"{counted(count, 'key')} of {url}" for url, count in counts.items())
    return [_entry("identity provider", "ok", detail)]


async def _operations(settings: Settings) -> dict[str, Any]:
    try:
        backlog = await maintenance.backlog(settings)
    except DicomStoreError as error:
        return _entry("operations", "failed", error.message)
    return _entry(
        "operations", "warning" if backlog.problem else "ok", backlog.problem or f"{backlog.unfinished} unfinished"
    )


async def _clock(settings: Settings) -> dict[str, Any]:
    try:
        problem = await maintenance.check_clock(settings)
    except DicomStoreError as error:
        return _entry("clock", "failed", error.message)
    return _entry("clock", "warning" if problem else "ok", problem or "agrees with the recorded time")


async def _webhooks(settings: Settings) -> list[dict[str, Any]]:
    """Report webhooks that fail, and dead letters."""
    try:
        found = await maintenance.webhooks(settings)
    except DicomStoreError as error:
        return [_entry("webhooks", "failed", error.message)]
    if not found:
        return []
    failing = [webhook for webhook, _ in found if webhook.is_enabled and webhook.health.failures]
    dead = sum(backlog.dead for _, backlog in found)
    waiting = sum(backlog.waiting for _, backlog in found)
    detail = (
        f"{counted(len(found), 'webhook')}, {len(failing)} failing, {counted(waiting, 'waiting event')}, "
        f"{counted(dead, 'dead letter')}"
    )
    examples = [
        f"{webhook.id}: {webhook.health.problem or 'works'}, {backlog.waiting} waiting, "
        f"{counted(backlog.dead, 'dead letter')}"
        for webhook, backlog in found
        if webhook in failing or backlog.dead
    ]
    return [_entry("webhooks", "warning" if failing or dead else "ok", detail, examples)]


async def _workitem_rules(settings: Settings) -> list[dict[str, Any]]:
    """Report rules for workitems that fail."""
    try:
        found = await maintenance.workitem_rules(settings)
    except DicomStoreError as error:
        return [_entry("workitem rules", "failed", error.message)]
    if not found:
        return []
    failing = [rule for rule in found if rule.state.waiting]
    waiting = sum(rule.state.waiting for rule in found)
    detail = f"{counted(len(found), 'rule')}, {len(failing)} failing, {counted(waiting, 'waiting event')}"
    examples = [f"{rule.id}: {rule.state.problem}, {rule.state.waiting} waiting" for rule in failing]
    return [_entry("workitem rules", "warning" if failing else "ok", detail, examples)]


async def _transfers(settings: Settings) -> list[dict[str, Any]]:
    """Report transfers with other systems that failed, and those whose last attempt did."""
    try:
        found = await maintenance.transfers(settings)
    except DicomStoreError as error:
        return [_entry("transfers", "failed", error.message)]
    if not found:
        return []
    dead = [transfer for transfer in found if transfer.state is TransferState.FAILED]
    problems = Counter((transfer.remote, transfer.problem) for transfer in found if transfer.problem)
    detail = f"{counted(len(dead), 'dead letter')}, {len(found) - len(dead)} unfinished"
    examples = [f"{remote}: {problem}, {counted(count, 'transfer')}" for (remote, problem), count in problems.items()]
    return [_entry("transfers", "warning" if problems else "ok", detail, examples)]


async def _agreement(settings: Settings, *, deep: bool) -> list[dict[str, Any]]:
    try:
        async with maintenance.auditing(settings) as audit:
            report = await audit.run(deep=deep)
        position = await maintenance.scrub_position(settings)
    except DicomStoreError as error:
        return [_entry("agreement", "failed", error.message)]
    found = (
        f"{counted(report.instances, 'instance')}, {report.missing} without bytes, {report.damaged} damaged, "
        f"{counted(report.current_changes, 'current entry', 'current entries')} in the change feed"
    )
    kept = (
        f"{counted(report.earlier, 'earlier version')}, {counted(report.deleted, 'version')} of deleted instances, "
        f"{report.kept_missing} without bytes, {report.kept_damaged} damaged"
    )
    return [
        _entry("agreement", "ok" if report.agrees else "failed", found, report.examples),
        _entry("history", "warning" if report.kept_examples else "ok", kept, report.kept_examples),
        _scrub(settings, report.known_damaged, position),
        _entry(
            "unused blobs",
            "warning" if report.unused else "ok",
            f"{counted(report.blobs, 'blob')}, {report.unused} unused",
        ),
        _entry(
            "quarantine",
            "warning" if report.quarantined else "ok",
            f"{counted(report.quarantined, 'blob')}, {counted(report.quarantined_bytes, 'byte')} not referenced by the "
            "index"
            + (
                f"; erased {settings.quarantine_period / timedelta(hours=1):g} h after they were found"
                if report.quarantined
                else ""
            ),
        ),
    ]


def _scrub(settings: Settings, known_damaged: int, position: ScrubPosition | None) -> dict[str, Any]:
    """Report the number of known damaged instances, and whether the scrub is on schedule."""
    damaged = f"{counted(known_damaged, 'instance')} known to be damaged"
    if position is not None and position.damaged:
        known_damaged += len(position.damaged)
        damaged += f", {counted(len(position.damaged), 'earlier or deleted version')} damaged when last read"
    if not settings.scrub_days:
        return _entry("scrub", "warning" if known_damaged else "ok", f"switched off, {damaged}")
    complete = position.complete if position else None
    since = complete or (position.began if position else None)
    is_late = since is not None and datetime.now(UTC) - since > timedelta(days=2 * settings.scrub_days)
    return _entry(
        "scrub",
        "warning" if known_damaged or is_late else "ok",
        f"{f'last complete {complete:%Y-%m-%d}' if complete else 'not complete yet'}, {damaged}",
    )


def _entry(name: str, status: str, detail: str, examples: list[str] | None = None) -> dict[str, Any]:
    return {"name": name, "status": status, "detail": detail, **({"examples": examples} if examples else {})}
