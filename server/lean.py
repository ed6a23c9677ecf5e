"""Import this first, in a process that serves: what has to be settled before others are imported.

pydicom does without numpy, Pillow, decoders and downloads if they can't be imported, and the process without their
memory and the time to load them: pixels are for worker processes, which never import this. And gRPC keeps out of the
way of new processes: its handlers of fork() are for programs that go on with gRPC in the child, and now and then let a
child die that only wants to become another program. Nothing that importing makes is garbage: looking for some takes a
seventh of the time. Who imports this enables the collector when all is imported.
"""

import gc
import os
import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
# Importing one of these fails now, for which pydicom is prepared.
_modules.update(dict.fromkeys(("numpy", "PIL", "imagecodecs", "gdcm", "pylibjpeg", "jpeg_ls", "requests")))

gc.disable()

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
