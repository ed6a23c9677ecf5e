"""The contract passes lint, its stubs are up to date, and all code knows its error reasons."""

import filecmp
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dicomstore.v1 import errors_pb2

from server.model import errors
from server.model.errors import DicomStoreError, Reason
from server.rpc.errors import CODES, to_status

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"


def contract_reasons() -> set[str]:
    names = errors_pb2.ErrorReason.keys()
    return {name.removeprefix("ERROR_REASON_") for name in names} - {"UNSPECIFIED"}


def test_the_generated_stubs_are_up_to_date(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "protos/generate.py", tmp_path], check=True, capture_output=True)
    fresh = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*") if "__pycache__" not in path.parts}
    committed_root = ROOT / "protos/gen"
    committed = {
        path.relative_to(committed_root) for path in committed_root.rglob("*.py*") if "__pycache__" not in path.parts
    }
    assert committed == fresh
    _, different, unreadable = filecmp.cmpfiles(tmp_path, committed_root, map(str, fresh), shallow=False)
    assert (different, unreadable) == ([], [])


@pytest.mark.parametrize("arguments", [["lint"], ["format", "--diff", "--exit-code"], ["build"]])
def test_buf_accepts_the_contract(arguments: list[str]) -> None:
    result = subprocess.run([BUF, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_contract_does_not_break_its_last_release(tmp_path: Path) -> None:
    """protos/released.binpb is the last released contract; `make release-protos` replaces it."""
    result = subprocess.run(
        [BUF, "breaking", "--against", "protos/released.binpb"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_breaking_change_is_detected(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "protos/dicomstore", tmp_path / "protos/dicomstore")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copy(ROOT / "protos/released.binpb", tmp_path)
    proto = tmp_path / "protos/dicomstore/v1/delete_service.proto"
    proto.write_text(proto.read_text().replace("int64 deleted_instances = 1", "int64 deleted_instances = 9"))
    result = subprocess.run(
        [BUF, "breaking", "--against", "released.binpb"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 100
    assert "deleted_instances" in result.stdout


def test_the_model_has_the_reasons_of_the_contract() -> None:
    assert {reason.value for reason in Reason} == contract_reasons()


def error_classes() -> list[type[DicomStoreError]]:
    return [DicomStoreError, *DicomStoreError.__subclasses__()]


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_class_has_a_grpc_code(kind: type[DicomStoreError]) -> None:
    status = to_status(kind(Reason.INTERNAL, "message"))
    assert status.code is CODES[kind]
    assert status.details == "message"


def test_the_comment_of_a_reason_names_its_grpc_code() -> None:
    """Each `Class(Reason.X` in the code has the gRPC code that errors.proto states for X."""
    proto = (ROOT / "protos/dicomstore/v1/errors.proto").read_text()
    promised = {
        name: code for code, name in re.findall(r"  // ([A-Z_]+)[.,][^=]*?\n  ERROR_REASON_([A-Z_]+) = ", proto)
    }
    assert set(promised) == contract_reasons()
    raised = {
        (kind, reason)
        for path in (ROOT / "server").rglob("*.py")
        for kind, reason in re.findall(r"\b([A-Z]\w+)\(\s*Reason\.([A-Z_]+)", path.read_text())
    }
    assert len(raised) > 20
    for kind, reason in raised:
        assert CODES[getattr(errors, kind)].name == promised[reason], (kind, reason)
