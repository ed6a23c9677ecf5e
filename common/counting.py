"""Numbers with their nouns, for people."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 file`, `2,000 files`; `plural` is needed unless it is the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
