"""Outcomes of files, and their totals."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from dicomstore.v1 import errors_pb2, resources_pb2, store_service_pb2

from cli.causes import Causes
from cli.output import in_bytes, in_time, printable
from common.counting import counted


class Status(StrEnum):
    """Outcome of one file."""

    STORED = "stored"
    REPLACED = "replaced"
    """A new version of an instance that the archive had."""
    IDENTICAL = "identical"
    """The archive already had an identical instance."""
    SKIPPED = "skipped"
    """Not DICOM, and not named by the user."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one file; UIDs are empty if unknown."""

    path: Path
    status: Status
    size_bytes: int = 0
    reason: str = ""
    message: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    findings: tuple[str, ...] = ()
    """Invalid attributes: keyword or tag, the path in a sequence item, and the reason."""

    @property
    def why(self) -> tuple[str, ...]:
        """Explanation of a failure: the invalid attributes, or else the message of the archive."""
        return self.findings or ((self.message,) if self.message else ())

    def to_json(self) -> dict[str, object]:
        """Return the outcome as printed by `--json`, without empty fields."""
        fields: dict[str, object] = {
            "path": printable(str(self.path)),
            "status": self.status.value,
            "size_bytes": self.size_bytes,
            "reason": self.reason,
            "message": self.message,
            "study_instance_uid": self.study,
            "series_instance_uid": self.series,
            "sop_instance_uid": self.instance,
            "findings": list(self.findings),
        }
        return {name: value for name, value in fields.items() if value or name == "size_bytes"}


class Listener(Protocol):
    """Receives the events of an upload."""

    def sent(self, size_bytes: int) -> None:
        """Handle sent bytes; negative if they must be sent again."""

    def ended(self, result: Result) -> None:
        """Handle the result of a file; called once for each file."""


def result_of(path: Path, size_bytes: int, outcome: store_service_pb2.StoreOutcome) -> Result:
    """Return the result of a file from the core's outcome."""
    if outcome.HasField("stored"):
        identity = outcome.stored.id
        stored = Status.REPLACED if outcome.stored.replaced_version else Status.STORED
        return Result(
            path,
            Status.IDENTICAL if outcome.stored.identical else stored,
            size_bytes,
            study=identity.study_instance_uid,
            series=identity.series_instance_uid,
            instance=identity.sop_instance_uid,
            findings=tuple(map(_text_of, outcome.stored.findings)),
        )
    failed = outcome.failed
    return Result(
        path,
        Status.IDENTICAL if failed.identical else Status.FAILED,
        size_bytes,
        reason=reason_name(failed.reason),
        message=failed.message,
        study=failed.instance.study_instance_uid,
        series=failed.instance.series_instance_uid,
        instance=failed.instance.sop_instance_uid,
        findings=tuple(map(_text_of, failed.findings)),
    )


def _text_of(finding: resources_pb2.AttributeFinding) -> str:
    name = finding.keyword or finding.tag
    is_nested = "/" in finding.path
    return f"{name} ({finding.path}): {finding.message}" if is_nested else f"{name}: {finding.message}"


def reason_name(reason: int) -> str:
    """Return the name of a reason without prefix; `REASON_<number>` for a reason newer than this program."""
    try:
        return errors_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    except ValueError:
        return f"REASON_{reason}"


@dataclass(slots=True)
class Tally:
    """Totals of an upload; memory does not grow with the number of files."""

    counts: Counter[Status] = field(default_factory=Counter)
    stored_bytes: int = 0
    with_findings: int = 0
    causes: Causes = field(default_factory=lambda: Causes("file"))
    base: Path = Path()
    """Folder that printed names are relative to."""

    def ended(self, result: Result) -> None:
        """Count one file."""
        self.counts[result.status] += 1
        if result.status in (Status.STORED, Status.REPLACED):
            self.stored_bytes += result.size_bytes
            self.with_findings += bool(result.findings)
        if result.status is Status.FAILED:
            self.causes.add(self.name_of(result.path), result.reason, result.why)

    def name_of(self, path: Path) -> str:
        """Return the printed name of a file: relative to the base if it is below it."""
        whole, base = path.absolute(), self.base.absolute()
        return printable(str(whole.relative_to(base) if whole.is_relative_to(base) else path))

    def summary(self, elapsed_s: float) -> str:
        """Return a summary in one line."""
        rate = self.stored_bytes / max(elapsed_s, 0.001)
        replaced = self.counts[Status.REPLACED]
        parts = [f"{counted(self.counts[Status.STORED] + replaced, 'file')} stored"]
        if self.stored_bytes:
            parts[0] += f" ({in_bytes(self.stored_bytes)} in {in_time(elapsed_s)}, {in_bytes(rate)}/s)"
        if replaced:
            parts.append(f"{replaced:,} of these as new versions")
        if self.counts[Status.IDENTICAL]:
            parts.append(f"{self.counts[Status.IDENTICAL]:,} already there")
        if self.counts[Status.SKIPPED]:
            parts.append(f"{self.counts[Status.SKIPPED]:,} skipped (not DICOM instances)")
        if self.with_findings:
            parts.append(f"{self.with_findings:,} with invalid attributes")
        parts.append(f"{self.counts[Status.FAILED]:,} failed")
        return ", ".join(parts)
