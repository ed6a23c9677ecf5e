"""Which fragments of encapsulated pixel data are a frame's.

Number of Frames, the offset tables and the fragments may contradict one another. Where codestreams can be told apart,
they decide: each is a frame (PS3.5 section A.4: a fragment holds no more than one frame).
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

from server.dicom.pixel_data.fragments import BARE_START, FILLER, MAX_FRAGMENTS, OTHER, START, FragmentWalk

_ITEM_HEADER_BYTES = 8

Span = tuple[int, int]
"""Of a frame: where its first item begins, and where its last fragment ends; both 0 for a frame that isn't there."""


def frame_table(
    walk: FragmentWalk, number_of_frames: int, extended_offsets: Sequence[int], frame_bytes: int = 0
) -> bytes:
    """Return `PixelLayout.table` of encapsulated frames; empty if frames and fragments can't be matched.

    Args:
        walk: has seen all fragments.
        number_of_frames: as the data set says; 0 if it doesn't.
        extended_offsets: of the Extended Offset Table.
        frame_bytes: size of frames that are encapsulated but not compressed, in bytes; 0 for all others.
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


# -- codestreams that can be told apart ---------------------------------------------------------------------------


def _of_codestreams(walk: FragmentWalk, number_of_frames: int, extended_offsets: Sequence[int]) -> list[Span]:
    """Return the frames of fragments some of which begin with the start of a codestream."""
    certain, possible, needless = _beginnings(walk)
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
    return _spans(walk, chosen, needless)


def _beginnings(walk: FragmentWalk) -> tuple[list[int], list[int], bytearray]:
    """Return numbers of fragments: those that begin a frame, and those that may, as what is before them has ended.

    Also, for each fragment, 1 if it adds nothing to the frame before.
    """
    certain: list[int] = []
    possible: list[int] = []
    kinds = _settled(walk.kinds)
    needless = bytearray(len(kinds))
    has_ended = True
    for index, kind in enumerate(kinds):
        is_end = bool(walk.ends[index])
        if kind == FILLER:
            needless[index] = has_ended or not is_end
            has_ended = has_ended or is_end
            continue
        if kind == START:
            certain.append(index)
        elif has_ended or not walk.marks.has_end:
            possible.append(index)
        has_ended = is_end
    return certain, possible, needless


def _settled(kinds: bytearray) -> bytearray:
    """Return kinds without BARE_START: before the middle of a codestream it is the start of it, else nothing."""
    settled, following = bytearray(kinds), START
    for index in reversed(range(len(settled))):
        if settled[index] == BARE_START:
            settled[index] = START if following == OTHER else FILLER
        if settled[index] != FILLER:
            following = settled[index]
    return settled


# -- fragments of which nothing is known --------------------------------------------------------------------------


def _of_fragments(walk: FragmentWalk, number_of_frames: int, extended_offsets: Sequence[int]) -> list[Span]:
    """One frame has all fragments; as many fragments as frames are one each; at last an offset table decides."""
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
    """Return the frames of fragments that together have so many bytes, or one more to be even; none if some don't."""
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
    """Return one frame for each fragment; an empty one is a frame that isn't there."""
    spans = [span if span[1] - span[0] > _ITEM_HEADER_BYTES else (0, 0) for span in _items(walk)]
    while spans and spans[-1] == (0, 0):
        spans.pop()
    return spans


def _spans(walk: FragmentWalk, beginnings: Sequence[int], needless: Sequence[int] = b"") -> list[Span]:
    """Return frames that begin with these fragments, each up to the next; needless ones at its end are left out."""
    spans: list[Span] = []
    nexts = [*beginnings[1:], len(walk.starts)] if beginnings else []
    for first, after in zip(beginnings, nexts, strict=True):
        last = after
        while needless and last - 1 > first and needless[last - 1]:
            last -= 1
        spans.append((walk.starts[first], walk.starts[last] if last < len(walk.starts) else walk.stop))
    return spans


def _starts_by_offsets(walk: FragmentWalk, offsets: Sequence[int]) -> list[int]:
    """Return where frames begin by an offset table; empty if it doesn't fit the fragments."""
    if not offsets or walk.first is None or offsets[0] != 0:
        return []
    wanted = [walk.first + offset for offset in offsets]
    fragments = iter(walk.starts)
    # Each search goes on where the last one ended, so this also demands ascending order.
    return wanted if all(start in fragments for start in wanted) else []


def _records(spans: Iterable[Span]) -> bytes:
    table = array("Q", chain.from_iterable(spans))
    if sys.byteorder == "big":
        table.byteswap()
    return table.tobytes()
