"""Known damage of a stored instance; recorded on detection, so that later responses announce it."""

from collections.abc import Iterable
from dataclasses import dataclass

_MISSING, _CHANGED, _RENDERING = "missing", "changed", "r"
_MAX_FRAMES = 64

EVERY_FRAME = 0
"""Stands for more than 64 frame numbers, or for all frames if the data set itself is unreadable."""

_NONE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Damage:
    """Known damage of an instance.

    is_missing: the stored bytes did not exist.
    is_changed: the stored bytes differ from the acknowledged ones.
    frames: numbers, from 1, of the frames that could not be decoded, or `EVERY_FRAME`.
    renderings: numbers, from 1, of the frames that could not be rendered, or `EVERY_FRAME`.
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
        """Return whether a frame, counted from 1, could not be decoded."""
        return number in self.frames or EVERY_FRAME in self.frames

    def is_of_rendering(self, number: int) -> bool:
        """Return whether a frame, counted from 1, could not be rendered."""
        return number in self.renderings or EVERY_FRAME in self.renderings

    def with_more(self, other: "Damage") -> "Damage":
        """Return the union of both."""
        return Damage(
            self.is_missing or other.is_missing,
            self.is_changed or other.is_changed,
            _bounded(self.frames | other.frames),
            _bounded(self.renderings | other.renderings),
        )

    def without(self, other: "Damage") -> "Damage":
        """Return the damage that remains after `other` was found to be repaired."""
        return Damage(
            self.is_missing and not other.is_missing,
            self.is_changed and not other.is_changed,
            _less(self.frames, other.frames),
            _less(self.renderings, other.renderings),
        )

    def text(self) -> str | None:
        """Return the text form stored in the index: words, and comma-separated numbers; None for no damage."""
        words = [_MISSING] * self.is_missing + [_CHANGED] * self.is_changed
        words += [*map(str, sorted(self.frames)), *(f"{_RENDERING}{number}" for number in sorted(self.renderings))]
        return ",".join(words) or None


NO_DAMAGE = Damage()


def damage_of(text: str | None) -> Damage:
    """Parse the return value of `Damage.text`."""
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
