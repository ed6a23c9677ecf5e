"""What is known to be damaged of a stored instance; recorded when it is found, so that later responses announce it."""

from collections.abc import Iterable
from dataclasses import dataclass

_MISSING, _CHANGED, _RENDERING = "missing", "changed", "r"
_MAX_FRAMES = 64

EVERY_FRAME = 0
"""In place of the numbers of more than 64 frames, or of all because the data set itself cannot be read."""

_NONE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Damage:
    """Known damage.

    is_missing: the stored bytes were not there.
    is_changed: the stored bytes are not those that were acknowledged.
    frames: numbers of the frames that could not be decoded, from 1, or `EVERY_FRAME`.
    renderings: numbers of the frames that could not be rendered, from 1, or `EVERY_FRAME`.
    """

    is_missing: bool = False
    is_changed: bool = False
    frames: frozenset[int] = _NONE
    renderings: frozenset[int] = _NONE

    @property
    def is_of_bytes(self) -> bool:
        """The stored bytes are lost, at least in part."""
        return self.is_missing or self.is_changed

    def is_of_frame(self, number: int) -> bool:
        """Say whether a frame, counted from 1, could not be decoded."""
        return number in self.frames or EVERY_FRAME in self.frames

    def is_of_rendering(self, number: int) -> bool:
        """Say whether a frame, counted from 1, could not be rendered."""
        return number in self.renderings or EVERY_FRAME in self.renderings

    def with_more(self, other: "Damage") -> "Damage":
        """Return both together."""
        return Damage(
            self.is_missing or other.is_missing,
            self.is_changed or other.is_changed,
            _bounded(self.frames | other.frames),
            _bounded(self.renderings | other.renderings),
        )

    def without(self, other: "Damage") -> "Damage":
        """Return what is left when the other one turned out to be repaired."""
        return Damage(
            self.is_missing and not other.is_missing,
            self.is_changed and not other.is_changed,
            _less(self.frames, other.frames),
            _less(self.renderings, other.renderings),
        )

    def text(self) -> str | None:
        """Return the form in which an index keeps it: words and numbers with commas; None for no damage."""
        words = [_MISSING] * self.is_missing + [_CHANGED] * self.is_changed
        words += [*map(str, sorted(self.frames)), *(f"{_RENDERING}{number}" for number in sorted(self.renderings))]
        return ",".join(words) or None


NO_DAMAGE = Damage()


def damage_of(text: str | None) -> Damage:
    """Return what `Damage.text` returned as a value."""
    if text is None:
        return NO_DAMAGE
    words = text.split(",")
    renderings = (word.removeprefix(_RENDERING) for word in words if word.startswith(_RENDERING))
    return Damage(_MISSING in words, _CHANGED in words, _numbers(words), _numbers(renderings))


def _numbers(words: Iterable[str]) -> frozenset[int]:
    return frozenset(int(word) for word in words if word.isdigit())


def _bounded(numbers: frozenset[int]) -> frozenset[int]:
    return frozenset({EVERY_FRAME}) if EVERY_FRAME in numbers or len(numbers) > _MAX_FRAMES else numbers


def _less(numbers: frozenset[int], removed: frozenset[int]) -> frozenset[int]:
    return _NONE if EVERY_FRAME in numbers and removed else numbers - removed
