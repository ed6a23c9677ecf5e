"""`python -m bench.parts.study_list`: the requests of the explorer's list of studies, in an archive of a million.

The studies are entries of the index without files, see `bench.index.many_studies`. Every request is sent several times
over HTTP, one at a time, as the explorer sends it: 100 studies with labels, the first page with the number of all
matches. A jump uses an offset; scrolling uses the token of the page before.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from bench.archive import running_archive
from bench.figures import Row, table, write_rows
from bench.index import data
from bench.index.many_studies import fill
from server.dicom.matching.sorting import SORT_KEYS
from server.model.search.query import Level

app = typer.Typer(add_completion=False)

PAGE = 100
_REPETITIONS = 3

_COLUMNS = {
    "what": "request",
    "first": "first page, ms",
    "middle": "middle, ms",
    "next": "page after it, ms",
    "last": "last page, ms",
    "total": "matches",
}


@app.command()
def main(
    studies: Annotated[int, typer.Option(help="Studies in the archive.")] = 1_000_000,
    database: Annotated[
        str, typer.Option(help="SQLAlchemy URL of an empty PostgreSQL database; default: SQLite.")
    ] = "",
    url: Annotated[str, typer.Option(help="Measure a running archive, which has such studies already.")] = "",
    output: Annotated[Path | None, typer.Option(help="Also write the rows to this file, as JSON lines.")] = None,
) -> None:
    """Measure the requests of the list."""
    if url:
        rows = list(_measured(url, studies))
    else:
        options = [f"--database={database}"] if database else []
        with running_archive(workers=1, options=options) as archive:
            index = database or f"sqlite:///{archive.data / 'index.db'}"
            asyncio.run(fill(index, studies, is_complete=True))
            rows = list(_measured(f"http://127.0.0.1:{archive.http_port}", studies))
    typer.echo("\n".join(table(rows, _COLUMNS)))
    if output:
        write_rows(output, rows)


def _measured(url: str, studies: int) -> Iterator[Row]:
    with httpx.Client(
        base_url=f"{url}/v2", headers={"Accept": "application/dicom+json"}, trust_env=False, timeout=300
    ) as client:
        yield _places(client, "newest first", {}, studies)
        for keyword in SORT_KEYS[Level.STUDY].values():
            for sort in (keyword, f"-{keyword}"):
                yield _places(client, f"sort={sort}", {"sort": sort}, studies)
        for name, filters in _filters(studies).items():
            total = int(_get(client, {**filters, "limit": 1, "totalcount": True})[1].headers.get("x-total-count", 0))
            for sort in ("", "-StudyDate", "PatientName", "-NumberOfStudyRelatedInstances"):
                yield _places(client, f"{name}{sort and f', sort={sort}'}", {**filters, "sort": sort}, total)


def _filters(studies: int) -> Mapping[str, Mapping[str, str]]:
    newest = data.study_facts(studies - 1)
    year = f"{int(newest.day[:4]) - 1}"
    chosen = random.Random(1).randrange(studies)
    facts = data.study_facts(chosen)
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


def _places(client: httpx.Client, what: str, params: Mapping[str, Any], total: int) -> Row:
    """Return the times of the first page with the total, one in the middle, the one after it, and the last."""
    row: Row = {"what": what}
    row["first"], _ = _get(client, {**params, "totalcount": True})
    if total > 2 * PAGE:
        middle = total // 2 // PAGE * PAGE
        row["middle"], answer = _get(client, {**params, "offset": middle})
        following = answer.links["next"]["url"]
        row["next"], _ = _get(client, dict(httpx.URL(following).params))
    if total > PAGE:
        row["last"], _ = _get(client, {**params, "offset": (total - 1) // PAGE * PAGE})
    row["total"] = total
    return row


def _get(client: httpx.Client, params: Mapping[str, Any]) -> tuple[float, httpx.Response]:
    """Return the median time of a request in ms, and its last response."""
    times = []
    asked = {"limit": PAGE, "labels": "true", **{name: value for name, value in params.items() if value != ""}}
    for _ in range(_REPETITIONS):
        began = time.perf_counter()
        answer = client.get("/studies", params=asked)
        times.append((time.perf_counter() - began) * 1000)
        if answer.status_code not in (200, 204):
            return float("nan"), answer
        if times[-1] > 3000:
            break
    return round(statistics.median(times), 1), answer


if __name__ == "__main__":
    app()
