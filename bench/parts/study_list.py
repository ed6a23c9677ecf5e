"""`python -m bench.parts.study_list`: the requests of the explorer's list of studies, in an archive of a million.

The studies are entries of the index without files, see `bench.index.many_studies`. Every request is sent several times
over HTTP, one at a time, as the explorer sends it: 100 studies with labels, the first page with the number of all
matches. A jump uses an offset; scrolling uses the token of the page before. Times are milliseconds until the response,
in brackets CPU time of the archive, without PostgreSQL: the least of three.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from bench.archive import Archive, running_archive
from bench.figures import Row, table, write_rows
from bench.index import data
from bench.index.many_studies import STORED, fill
from server.dicom.matching.sorting import SORT_KEYS
from server.model.search.query import Level

app = typer.Typer(add_completion=False)

PAGE = 100
_REPETITIONS = 3
_SLOW_SECONDS = 3

_COLUMNS = {
    "what": "request",
    "total": "matches",
    "first": "first page",
    "count": "with total",
    "middle": "middle",
    "next": "the page after it",
    "last": "last page",
}


@app.command()
def main(
    studies: Annotated[int, typer.Option(help="Studies in the archive.")] = 1_000_000,
    database: Annotated[
        str, typer.Option(help="SQLAlchemy URL of an empty PostgreSQL database; default: SQLite.")
    ] = "",
    url: Annotated[str, typer.Option(help="Measure a running archive, which has such studies already.")] = "",
    pid: Annotated[int, typer.Option(help="Its process, for CPU times.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Also write the rows to this file, as JSON lines.")] = None,
) -> None:
    """Measure the requests of the list."""
    if url:
        rows = _reported(Archive(0, "", pid, Path()), url, studies)
    else:
        options = [f"--database={database}"] if database else []
        with running_archive(workers=1, options=options) as archive:
            index = database or f"sqlite:///{archive.data / 'index.db'}"
            asyncio.run(fill(index, studies, is_complete=True))
            rows = _reported(archive, f"http://127.0.0.1:{archive.http_port}", studies)
    typer.echo("\n".join(table(rows, _COLUMNS)))
    if output:
        write_rows(output, rows)


def _reported(archive: Archive, url: str, studies: int) -> list[Row]:
    accept = {"Accept": "application/dicom+json"}
    rows = []
    with httpx.Client(base_url=f"{url}/v2", headers=accept, trust_env=False, timeout=60) as client:
        for row in _measured(_Requests(archive, client), studies):
            typer.echo(json.dumps(row), err=True)
            rows.append(row)
    return rows


def _measured(requests: "_Requests", studies: int) -> Iterator[Row]:
    yield requests.places("newest first", {}, studies)
    for keyword in SORT_KEYS[Level.STUDY].values():
        if keyword != "StudyTime":  # not offered in the list; it has no index
            for sort in (keyword, f"-{keyword}"):
                yield requests.places(f"sort={sort}", {"sort": sort}, studies)
    for name, filters in _filters(studies).items():
        total = requests.total(filters)
        for sort in ("", "-StudyDate", "PatientName", "-NumberOfStudyRelatedInstances"):
            yield requests.places(f"{name}{sort and f', sort={sort}'}", {**filters, "sort": sort}, total)


def _filters(studies: int) -> Mapping[str, Mapping[str, str]]:
    year = f"{2000 + studies // 40_000}"
    facts = data.study_facts(random.Random(1).randrange(min(studies, STORED)))
    return {
        "a patient": {"PatientID": f"{facts.patient_id}*"},
        "words of a name": {"PatientName": f"{facts.family} {facts.given}", "fuzzymatching": "true"},
        "a frequent family name": {"PatientName": data.FAMILIES[0], "fuzzymatching": "true"},
        "a year": {"StudyDate": f"{year}0101-{year}1231"},
        "a modality": {"ModalitiesInStudy": "MR"},
        "a rare modality": {"ModalitiesInStudy": "CT"},
        "a modality in a year": {"ModalitiesInStudy": "MR", "StudyDate": f"{year}0101-{year}1231"},
        "a part of descriptions": {"StudyDescription": "*contrast*"},
        "a part of descriptions, a modality, a family name": {
            "StudyDescription": "*contrast*",
            "ModalitiesInStudy": "MR",
            "PatientName": data.FAMILIES[0],
            "fuzzymatching": "true",
        },
        "a label": {"label.project": "lung"},
        "a label and a modality": {"label.project": "lung", "ModalitiesInStudy": "MR"},
        "an extended query tag": {"Manufacturer": data.MAKERS[0]},
    }


@dataclass(frozen=True)
class _Requests:
    archive: Archive
    client: httpx.Client

    def total(self, filters: Mapping[str, str]) -> int:
        """Return the number of matches."""
        _, answer = self.get({**filters, "limit": 1, "totalcount": True})
        return int(answer.headers.get("x-total-count", 0))

    def places(self, what: str, params: Mapping[str, Any], total: int) -> Row:
        """Return the times of the first page, the total, a page in the middle, the one after it, and the last."""
        row: Row = {"what": what}
        row["first"], _ = self.get(params)
        row["count"], _ = self.get({**params, "limit": 1, "totalcount": True})
        if total > 2 * PAGE:
            row["middle"], answer = self.get({**params, "offset": total // 2 // PAGE * PAGE})
            if following := answer.links.get("next"):
                row["next"], _ = self.get(dict(httpx.URL(following["url"]).params))
        if total > PAGE:
            row["last"], _ = self.get({**params, "offset": (total - 1) // PAGE * PAGE})
        row["total"] = total
        return row

    def get(self, params: Mapping[str, Any]) -> tuple[str, httpx.Response]:
        """Return the least time of a request and the least CPU time of the archive, as text, and its response."""
        times, used = [], []
        asked = {"limit": PAGE, "labels": "true", **{name: value for name, value in params.items() if value != ""}}
        for _ in range(_REPETITIONS):
            cpu, began = self.archive.cpu_seconds() if self.archive.pid else 0, time.perf_counter()
            answer = self.client.get("/studies", params=asked)
            times.append(time.perf_counter() - began)
            used.append((self.archive.cpu_seconds() if self.archive.pid else 0) - cpu)
            if answer.status_code not in (200, 204):
                return f"status {answer.status_code}", answer
            if times[-1] > _SLOW_SECONDS:
                break
        return f"{min(times) * 1000:.0f} ({min(used) * 1000:.0f})", answer


if __name__ == "__main__":
    app()
