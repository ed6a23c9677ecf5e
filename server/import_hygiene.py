"""Import hygiene of serving processes: imported first, because it affects the imports of other modules.

- pydicom works without numpy, Pillow, decoders and download libraries if their import fails. This saves memory and
  start time; only worker processes, which never import this module, handle pixels.
- The fork handlers of gRPC, meant for children that use gRPC, are disabled: occasionally they kill a child before exec.
- gRPC prints nothing about connections that fail, such as those of port scanners, in a format of its own.
- The garbage collector is disabled during imports; see `common.collector`.
"""

import os
import sys
from typing import Any

import common.collector  # noqa: F401

_modules: dict[str, Any] = sys.modules
# The import of these modules fails from now on; pydicom handles that.
_modules.update(dict.fromkeys(("numpy", "PIL", "imagecodecs", "gdcm", "pylibjpeg", "jpeg_ls", "requests")))

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
