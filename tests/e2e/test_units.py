"""The systemd units in docs/operations.md are valid."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.archive import ROOT

UNITS = re.findall(
    r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL
)


@pytest.mark.clients("systemd-analyze")
def test_the_units_of_the_documentation_are_valid(tmp_path: Path) -> None:
    assert len(UNITS) >= 2
    for name, text in UNITS:
        tmp_path.joinpath(name).write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / name for name, _ in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
