"""Text of DICOM character sets (PS3.3 section C.12.1.1.2, PS3.5 section 6.1), the way pydicom reads it.

One difference: of ISO 2022 IR 58 (PS3.5 annex K) pydicom leaves the escape sequences in the text.

Names of Python codecs stand for character sets. All that are admitted decode the bytes 0x20 to 0x7E, when no escape
precedes them, to the ASCII characters; plain text can therefore skip decoding.
"""

import codecs
import re
from collections.abc import Sequence
from functools import lru_cache

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, default_encoding
from pydicom.charset import python_encoding as _CODEC_OF_TERM

Codecs = tuple[str, ...]
"""The first decodes what no escape sequence precedes; the others may be switched to."""

DEFAULT_CODECS: Codecs = (default_encoding,)

_WITH_ESCAPES = frozenset({"iso2022_jp", "iso2022_jp_2"})
"""Codecs that need the escape sequences to be there; others know nothing of them."""

_MAX_CACHED_BYTES = 256
_ESCAPE = b"\x1b"
_RUNS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_LINE_DELIMITERS = re.compile(rb"[\r\n\t\f]")
_MISSPELT_PLAIN = re.compile(r"ISO[^_]IR")
_MISSPELT_EXTENSION = re.compile(r"(?!ISO 2022 IR )ISO.2022.IR.")

# Files name these Python codecs instead of a defined term; other codecs would not keep ASCII as it is.
_ADMITTED_CODECS = frozenset(
    codecs.lookup(name).name
    for name in (
        *("ascii", "utf-8", "latin-1", "big5", "gb2312", "gbk", "gb18030", "euc-jp", "euc-kr", "koi8-r", "koi8-u"),
        *("shift-jis", "tis-620", *(f"cp{page}" for page in (874, 932, 936, 949, 950, *range(1250, 1259)))),
        *(f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))),
    )
)


def codecs_of(terms: Sequence[str]) -> tuple[Codecs, bool]:
    """Return the codecs of the values of Specific Character Set, and whether all of them are known.

    Unknown ones are taken for the default character set. A character set without code extensions stands alone.
    """
    found = [_codec_of(term) for term in terms or ("",)]
    known = all(codec is not None for codec in found)
    if len(found) == 1 or terms[0] in STAND_ALONE_ENCODINGS:
        return (found[0] or default_encoding,), known
    extensions = [codec for term, codec in zip(terms, found, strict=True) if term not in STAND_ALONE_ENCODINGS]
    return tuple(codec or default_encoding for codec in extensions), known


def decode(raw: bytes, codec_names: Codecs) -> tuple[str, bool]:
    """Return the text of a value, and whether all its bytes could be decoded; others become U+FFFD."""
    if _ESCAPE not in raw:
        return _decode_run(raw, codec_names[0])
    # The names of a patient come with each of hundreds of instances, and take a while.
    return _decode_runs_again(raw, codec_names) if len(raw) <= _MAX_CACHED_BYTES else _decode_runs(raw, codec_names)


def _decode_runs(raw: bytes, codec_names: Codecs) -> tuple[str, bool]:
    texts = [_decode_escaped(run, codec_names) for run in _RUNS.findall(raw)]
    return "".join(text for text, _ in texts), all(is_clean for _, is_clean in texts)


_decode_runs_again = lru_cache(maxsize=1024)(_decode_runs)


def _codec_of(term: str) -> str | None:
    if term in _CODEC_OF_TERM:
        return _CODEC_OF_TERM[term]
    if _MISSPELT_PLAIN.match(term):
        return _CODEC_OF_TERM.get("ISO_IR" + term[6:])
    if _MISSPELT_EXTENSION.match(term):
        return _CODEC_OF_TERM.get("ISO 2022 IR " + term[12:])
    try:
        name = codecs.lookup(term).name
    except (LookupError, ValueError):
        return None
    return name if name in _ADMITTED_CODECS else None


def _decode_run(raw: bytes, codec: str) -> tuple[str, bool]:
    try:
        return raw.decode(codec), True
    except UnicodeError:
        return raw.decode(codec, "replace"), False


def _decode_escaped(run: bytes, codec_names: Codecs) -> tuple[str, bool]:
    """Decode a run of bytes that may begin with one escape sequence."""
    if not run.startswith(_ESCAPE):
        return _decode_run(run, codec_names[0])
    code = run[: 4 if run[1:3] in (b"$(", b"$)") else 3]
    codec = CODES_TO_ENCODINGS.get(code, "")
    if codec != default_encoding and codec not in codec_names:
        return run.decode(codec_names[0], "replace"), False
    try:
        if codec in _WITH_ESCAPES:
            return run.decode(codec), True
        # The end of a line switches back to the first character set (PS3.5 section 6.1.2.5.3).
        text = run[len(code) :]
        line_end = _LINE_DELIMITERS.search(text)
        split = line_end.start() if line_end else len(text)
        return text[:split].decode(codec) + text[split:].decode(codec_names[0]), True
    except UnicodeError:
        return run.decode(codec_names[0], "replace"), False
