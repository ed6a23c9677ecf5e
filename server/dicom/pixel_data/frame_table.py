"""Assignment of the fragments of encapsulated pixel data to frames.

Number of Frames, the offset tables and the fragments may contradict each other. If codestreams are recognisable, they
take precedence: each is a frame (PS3.5 section A.4: a fragment contains data of one frame only).
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

from server.dicom.pixel_data.fragments import BARE_START, FILLER, MAX_FRAGMENTS, OTHER, START, FragmentWalk

_ITEM_HEADER_BYTES = 8

Span = tuple[int, int]
"""Position of a frame: start of its first item, and end of its last fragment; both 0 for a missing frame."""


def frame_table(
    walk: FragmentWalk, number_of_frames: int, extended_offsets: Sequence[int], frame_bytes: int = 0
) -> bytes:
    """Return `PixelLayout.table` of encapsulated frames; empty if fragments cannot be assigned to frames.

    Args:
        walk: after all fragments.
        number_of_frames: Number of Frames (0028,0008); 0 if absent.
        extended_offsets: Extended Offset Table (7FE0,0001).
        frame_bytes: size of a frame that is encapsulated but not compressed; 0 for all others.
    """
    if walk.first is None:
        return b""
    count = len(walk.starts)
    if count >= MAX_FRAGMENTS:
        return _records([(walk.first, walk.stop)]) if number_of_frames <= 1 else b""
    starting = walk.kinds.count(START)
    if count == number_of_frames and not walk.empty_count and starting in (count, 0) and BARE_START not in walk.kinds:
        return _records(_items(walk))
    if starting or BARE_START in walk.kinds:
        return _records(_of_codestreams(walk, number_of_frames, extended_offsets))
    return _records(
        (_of_size(walk, frame_bytes) if frame_bytes else [])
        or _of_fragments(walk, max(number_of_frames, 1), extended_offsets)
    )


# -- recognisable codestreams ----------------------------------------------------------------------------------------


def _of_codestreams(walk: FragmentWalk, number_of_frames: int, extended_offsets: Sequence[int]) -> list[Span]:
    """Return the frames, if the start of a codestream is recognised in some fragments."""
    certain, possible, redundant = _frame_starts(walk)
    if not possible or len(certain) == number_of_frames:
        chosen = certain
    elif len(certain) + len(possible) == number_of_frames:
        chosen = sorted([*certain, *possible])  # the start of some frame is damaged
    else:
        chosen = certain
        starts = [walk.starts[index] for index in certain]
        for offsets in (extended_offsets, walk.offsets):
            named = set(_starts_by_offsets(walk, offsets))
            if named.issuperset(starts):
                chosen = sorted([*certain, *(index for index in possible if walk.starts[index] in named)])
                break
    if len(chosen) < number_of_frames == len(walk.starts) == len(chosen) + walk.empty_count:
        return _one_each(walk)
    return _spans(walk, chosen, redundant)


def _frame_starts(walk: FragmentWalk) -> tuple[list[int], list[int], bytearray]:
    """Return the indices of fragments that start a frame, and of fragments that may, because the one before has ended.

    Also, for each fragment, 1 if it adds nothing to the previous frame.
    """
    certain: list[int] = []
    possible: list[int] = []
    kinds = _without_bare_starts(walk.kinds)
    redundant = bytearray(len(kinds))
    has_ended = True
    for index, kind in enumerate(kinds):
        is_end = bool(walk.ends[index])
        if kind == FILLER:
            redundant[index] = has_ended or not is_end
            has_ended = has_ended or is_end
            continue
        if kind == START:
            certain.append(index)
        elif has_ended or not walk.marks.has_end:
            possible.append(index)
        has_ended = is_end
    return certain, possible, redundant


def _without_bare_starts(kinds: bytearray) -> bytearray:
    """Resolve BARE_START: before the middle of a codestream it is its start, otherwise it is filler."""
    settled, following = bytearray(kinds), START
    for index in reversed(range(len(settled))):
        if settled[index] == BARE_START:
            settled[index] = START if following == OTHER else FILLER
        if settled[index] != FILLER:
            following = settled[index]
    return settled


# -- unrecognised fragments ------------------------------------------------------------------------------------------


def _of_fragments(walk: FragmentWalk, number_of_frames: int, extended_offsets: Sequence[int]) -> list[Span]:
    """A single frame has all fragments; as many fragments as frames are one frame each; otherwise the offset table
    decides."""
    assert walk.first is not None
    filled = [index for index, (start, stop) in enumerate(_items(walk)) if stop - start > _ITEM_HEADER_BYTES]
    if number_of_frames == 1:
        return [(walk.first, walk.stop)]
    if len(walk.starts) == number_of_frames:
        return _one_each(walk)
    if len(filled) == number_of_frames:
        return _spans(walk, filled)
    tables = [_starts_by_offsets(walk, offsets) for offsets in (extended_offsets, walk.offsets)]
    chosen = next((table for table in tables if len(table) == number_of_frames), [])
    if not chosen and not walk.marks.is_stream:
        chosen = next((table for table in tables if len(table) > 1), [])
    if not chosen and walk.marks.is_one_fragment:
        return _spans(walk, filled)
    numbers = {start: index for index, start in enumerate(walk.starts)} if chosen else {}
    return _spans(walk, [numbers[start] for start in chosen])


def _of_size(walk: FragmentWalk, frame_bytes: int) -> list[Span]:
    """Return frames by size: consecutive fragments with `frame_bytes` in total, or one padding byte more; empty if some
    differ."""
    spans: list[Span] = []
    begin, size = 0, 0
    for start, stop in _items(walk):
        begin = begin if size else start
        size += stop - start - _ITEM_HEADER_BYTES
        if size >= frame_bytes:
            if size > frame_bytes + frame_bytes % 2:
                return []
            spans.append((begin, stop))
            size = 0
    return spans


# -- spans --------------------------------------------------------------------------------------------------------


def _items(walk: FragmentWalk) -> Iterable[Span]:
    return zip(walk.starts, [*walk.starts[1:], walk.stop], strict=True)


def _one_each(walk: FragmentWalk) -> list[Span]:
    """Return one frame per fragment; an empty fragment is a missing frame."""
    spans = [span if span[1] - span[0] > _ITEM_HEADER_BYTES else (0, 0) for span in _items(walk)]
    while spans and spans[-1] == (0, 0):
        spans.pop()
    return spans


def _spans(walk: FragmentWalk, frame_starts: Sequence[int], redundant: Sequence[int] = b"") -> list[Span]:
    """Return frames that start with the given fragments and end before the next; trailing `redundant` fragments are
    omitted."""
    spans: list[Span] = []
    nexts = [*frame_starts[1:], len(walk.starts)] if frame_starts else []
    for first, after in zip(frame_starts, nexts, strict=True):
        last = after
        while redundant and last - 1 > first and redundant[last - 1]:
            last -= 1
        spans.append((walk.starts[first], walk.starts[last] if last < len(walk.starts) else walk.stop))
    return spans


def _starts_by_offsets(walk: FragmentWalk, offsets: Sequence[int]) -> list[int]:
    """Return the start fragments of frames by an offset table; empty if it contradicts the fragments."""
    if not offsets or walk.first is None or offsets[0] != 0:
        return []
    wanted = [walk.first + offset for offset in offsets]
    fragments = iter(walk.starts)
    # Each search continues where the last one ended, which also requires ascending order.
    return wanted if all(start in fragments for start in wanted) else []


def _records(spans: Iterable[Span]) -> bytes:
    table = array("Q", chain.from_iterable(spans))
    if sys.byteorder == "big":
        table.byteswap()
    return table.tobytes()
