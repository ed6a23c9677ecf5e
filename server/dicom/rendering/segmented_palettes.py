"""Segmented palette data (PS3.3 section C.7.9.2)."""

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
_MAX_SEGMENTS = 1 << 17


class Segments:
    """Expands segments into entries; stops at invalid segments and at the limit.

    Args:
        words: segment data, numbers of 8 or 16 bits.
        is_narrow: the numbers have 8 bits.
        limit: maximum number of entries.
    """

    def __init__(self, words: list[int], *, is_narrow: bool, limit: int) -> None:
        self.entries: list[int] = []
        self._words = words
        self._is_narrow = is_narrow
        self._limit = limit
        self._left = _MAX_SEGMENTS

    def expand(self) -> list[int]:
        """Return the entries; fewer than `limit` if the segments end earlier."""
        at: int | None = 0
        while at is not None:
            at = self._indirect(at) if self._code(at) == _INDIRECT else self._plain(at)
        return self.entries[: self._limit]

    def _code(self, at: int) -> int | None:
        return self._words[at] if at + 2 < len(self._words) else None

    def _plain(self, at: int) -> int | None:
        """Append the entries of a segment; return the position of the next segment, None after the last."""
        self._left -= 1
        code, words, entries = self._code(at), self._words, self.entries
        if code is None or self._left < 0 or len(entries) >= self._limit:
            return None
        length = words[at + 1]
        if code == _DISCRETE:
            entries += words[at + 2 : at + 2 + length]
            return at + 2 + length
        if code == _LINEAR and entries:
            start, rise = entries[-1], words[at + 2] - entries[-1]
            entries += [start + round(rise * step / length) for step in range(1, length + 1)]
            return at + 3
        return None

    def _indirect(self, at: int) -> int | None:
        """Append the entries of referenced segments. An indirect segment among them ends the expansion."""
        words, size = self._words, 4 if self._is_narrow else 2
        parts = words[at + 2 : at + 2 + size]
        if len(parts) < size:
            return None
        # The offset is in bytes, least significant part first.
        offset = sum(part << (index * (8 if self._is_narrow else 16)) for index, part in enumerate(parts))
        source: int | None = offset if self._is_narrow else offset // 2
        for _ in range(words[at + 1]):
            if source is None or self._code(source) == _INDIRECT:
                return None
            source = self._plain(source)
        return at + 2 + size if source is not None or len(self.entries) < self._limit else None
