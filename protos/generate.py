"""Make protos/gen from protos/dicomstore: the one way to do it (`make protos`).

Generated code refuses to run on a protobuf older than the tools that made it, so grpcio-tools is pinned
in pyproject.toml to the lowest version that is supported at run time.
"""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent


def generate(out: Path) -> None:
    """Write `dicomstore/v1/*_pb2.py`, `*_pb2.pyi` and `*_pb2_grpc.py` below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("dicomstore/**/*.proto"))
    well_known = files("grpc_tools") / "_proto"
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--grpc_python_out={out}",
        *sources,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    for package in ("dicomstore", "dicomstore/v1"):
        (out / package / "__init__.py").touch()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "gen")
