"""Import this first, in a process that serves: what has to be settled before others are imported.

pydicom does without numpy and Pillow if they can't be imported, and the process without 15 MB: pixels are for worker
processes, which never import this. And gRPC keeps out of the way of new processes: its handlers of fork() are for
programs that go on with gRPC in the child, and now and then let a child die that only wants to become another program.
"""

import os
import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
_modules.update(numpy=None, PIL=None, imagecodecs=None)  # importing one fails now, for which pydicom is prepared

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
