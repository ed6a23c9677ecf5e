"""JSON bodies with comments and trailing commas. The input is the body."""

from collections.abc import Iterator

import orjson

from facade.errors import Refusal
from facade.request.json_body import fields_of, parse_json
from tests.fuzz.target import require

_BODIES = [
    '[{"path": "PatientWeight", "vr": "DS", "level": "study"}]',
    '[{"Path": "00091001", "privateCreator": "A \\" // B", "level": "instance",},]',
    '// comment\n{"queryStatus": /* * / */ "Disabled"}',
    '{"a": [1, 2.5e3, -0, true, null, "\\u00e9\\n", {},],}',
    "[[[[[[[[[[,]]]]]]]]]]",
    '{"a": "unterminated // , }',
    "/* unterminated",
    "",
    "// only",
    '"\\',
]


def seeds() -> Iterator[bytes]:
    """Yield bodies of clients and malformed ones."""
    for body in _BODIES:
        yield body.encode()


def check(data: bytes) -> None:
    """Check that JSON means what it means without this parser, and that all else is an error."""
    try:
        found = parse_json(data)
    except Refusal as refusal:
        require(refusal.status == 400, "a malformed body is 400")
        found = None
        require(not _is_json(data), "JSON is accepted")
    else:
        require(not _is_json(data) or found == orjson.loads(data), "JSON keeps its meaning")
        require(parse_json(orjson.dumps(found)) == found, "an accepted body can be written and read")
    for item in found if isinstance(found, list) else [found]:
        try:
            fields_of(item, {"path": "path", "vr": "vr"}, "$")
        except Refusal as refusal:
            require(refusal.status == 400, "an invalid body is 400")


def _is_json(data: bytes) -> bool:
    """Return whether data is JSON that can be written again, which allows fewer levels than reading."""
    try:
        orjson.dumps(orjson.loads(data))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return False
    return True
