"""`python -m bench.rpc.ghz_data FOLDER > store.json`: the messages of one StoreInstances call as input for ghz.

Partitions make every call store new instances: ghz replaces `{{.RequestNumber}}` in the partition's name, and the same
instance in another partition is another instance.
"""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

_MESSAGE_BYTES = 1 << 20


def messages(files: list[Path], *, partitions: bool) -> Iterator[dict[str, Any]]:
    """Yield the messages of one call that stores `files`."""
    header: dict[str, Any] = {}
    if partitions:
        header = {"address": {"partition": "ghz-{{.RequestNumber}}"}, "createPartition": True}
    message: dict[str, Any] = {"header": header, "pieces": []}
    size = 0
    for item, file in enumerate(files, 1):
        body = file.read_bytes()
        for start in range(0, len(body), _MESSAGE_BYTES):
            piece = body[start : start + _MESSAGE_BYTES]
            if size + len(piece) > _MESSAGE_BYTES and message["pieces"]:
                yield message
                message, size = {"pieces": []}, 0
            last = start + len(piece) == len(body)
            message["pieces"].append({"item": item, "data": base64.b64encode(piece).decode(), "last": last})
            size += len(piece)
    yield message


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM files.")],
    count: Annotated[int, typer.Option(help="Maximum number of files.")] = 500,
    partitions: Annotated[bool, typer.Option(help="Use a partition of its own for each call.")] = False,
) -> None:
    """Write the messages of one call as JSON."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())[:count]
    json.dump(list(messages(files, partitions=partitions)), sys.stdout)


if __name__ == "__main__":
    typer.run(main)
