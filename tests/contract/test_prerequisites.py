"""The documentation names every program that its commands need."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/operations.md").read_text()

OF_ITS_OWN = {"dicomstore", "dicomstore-server"}
OF_EVERY_LINUX = {"cp", "df", "du", "echo", "env", "ln", "mkdir", "mv", "python3", "sudo", "systemctl", "touch"}
"""Python is named in the first sentence; the others belong to coreutils, sudo and systemd."""


def commands(guide: str) -> set[str]:
    """Return the programs called in code blocks without a language, which are shell commands."""
    found = set[str]()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL):
        if language:
            continue
        joined = re.sub(r"\$\(.*?\)", "", block.replace("\\\n", " "))
        for line in joined.splitlines():
            if line.startswith("…"):  # a line of a log
                continue
            command, _, comment = line.partition("#")
            alternatives = re.findall(r"(?:or|also):? (pg_\w+)", comment)
            for part in (*re.split(r"&&|\|", command), *alternatives):
                words = [word for word in part.split() if not re.match(r"\w+=", word)]
                found |= {Path(word).name for word in words[:1]}
    return found


def test_every_program_in_the_guide_is_named_as_a_prerequisite() -> None:
    needed = commands(GUIDE) - OF_ITS_OWN - OF_EVERY_LINUX - {"pip"}
    assert needed >= {"rsync", "sqlite3", "curl"}
    installation = GUIDE.partition("\n## Installation\n")[2].partition("\n```")[0]
    assert needed <= set(re.findall(r"`(\w+)`", installation))


def test_the_readme_names_what_backups_need() -> None:
    start = (ROOT / "README.md").read_text().partition("\n## Start\n")[2].partition("\n```")[0]
    assert {"make", "rsync", "sqlite3"} <= set(re.findall(r"`(\w+)`", start))
