"""Import this first, in a process that touches no pixels: pydicom then does without numpy and Pillow, and 15 MB.

Pixels are for worker processes, which never import this.
"""

import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
_modules.update(numpy=None, PIL=None, imagecodecs=None)  # importing one fails now, for which pydicom is prepared
