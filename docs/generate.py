"""Make docs/errors.md, docs/settings.md and the tables of other pages from the contract and the code (`make docs`).

And facade/response/keywords.txt, from the data dictionary that the core uses.

A test keeps them fresh.
"""

import re
import sys
from pathlib import Path

from pydantic_settings import BaseSettings
from pydicom.datadict import DicomDictionary, RepeatersDictionary

from docs.tables import filled
from facade.config import Settings as FacadeSettings
from facade.errors import ANSWERS
from server.config import Settings as ServerSettings

ROOT = Path(__file__).parents[1]
_REASON = re.compile(r"((?:  //[^\n]*\n)+)  ERROR_REASON_([A-Z_]+) = \d+;")


def errors_page() -> str:
    """Return the table of all reasons: what each means, its gRPC code, what HTTP answers."""
    rows = []
    for comment, name in _REASON.findall((ROOT / "protos/dicomstore/v1/errors.proto").read_text()):
        if name == "UNSPECIFIED":
            continue
        text = " ".join(line.strip().removeprefix("//").strip() for line in comment.strip().splitlines())
        facts, _, meaning = text.partition(". ")
        code, _, rest = facts.partition(",")
        dicom = re.search(r"DICOM (\d+) \((\w{4})\)", rest)
        reason = f"{dicom[1]} ({dicom[2]})" if dicom else ""
        rows.append(f"| `{name}` | {code} | {reason} | {ANSWERS[name].status} | {meaning} |")
    return f"""# Errors

<!-- Made by docs/generate.py from protos/dicomstore/v1/errors.proto and facade/errors.py. -->

Everything that can go wrong has a **reason**. It is part of the contract; messages are for people and may change.

* **gRPC**: the status details hold `google.rpc.ErrorInfo` with `reason`, `domain: "dicomstore"` and `metadata`.
  Failures of one item of a stream are `ItemError`s; the stream goes on.
* **HTTP**: the status below and a plain text. For items of a STOW request the DICOM code is the Failure Reason
  (0008,1197) of the response data set, and the status of the response follows from all items together (200, 202, 409).
* `503` comes with `Retry-After`. Retrying is safe for every call: what was stored already is answered as such.
* Every answer carries `X-Request-Id`; the logs of both programs have it.

| reason | gRPC code | DICOM code | HTTP | meaning |
|---|---|---|---|---|
{chr(10).join(rows)}
"""


def settings_page() -> str:
    """Return the tables of all settings of both programs."""
    return f"""# Settings

<!-- Made by docs/generate.py from server/config.py and facade/config.py. -->

Each setting is an environment variable or a key in a TOML file; a variable beats the file. The file is
`dicomstore.toml` in the working directory, or what `DICOMSTORE_CONFIG` names; it has a table for each program. An
unknown key is an error. `dicomstore config` prints the settings in force, passwords masked.

```toml
[server]
data = "/srv/dicomstore"
database = "postgresql+psycopg://dicomstore@db.internal/dicomstore"

[facade]
http = "0.0.0.0:8080"
public_url = "https://pacs.example/dicom"
```

## Core: table `[server]`

{_table(ServerSettings)}

## Facade: table `[facade]`

{_table(FacadeSettings)}
"""


def _table(settings: type[BaseSettings]) -> str:
    rows = ["| key | variable | default | meaning |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        default = f"`{field.default}`" if field.default != "" else ""
        rows.append(f"| `{name}` | `DICOMSTORE_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def keywords() -> str:
    """Return the keywords of PS3.6 by tag; in those of repeating groups, x is any digit."""
    names = {f"{tag:08X}": row[4] for tag, row in DicomDictionary.items()}
    names |= {tag.upper().replace("X", "x"): row[4] for tag, row in RepeatersDictionary.items()}
    return "".join(f"{tag} {keyword}\n" for tag, keyword in sorted(names.items()) if keyword)


PAGES = {
    "facade/response/keywords.txt": keywords,
    "docs/errors.md": errors_page,
    "docs/settings.md": settings_page,
    "docs/api.md": lambda: filled(ROOT / "docs/api.md"),
    "docs/conformance.md": lambda: filled(ROOT / "docs/conformance.md"),
}

if __name__ == "__main__":
    for path, page in PAGES.items():
        (ROOT / path).write_text(page())
        sys.stdout.write(f"{path}\n")
