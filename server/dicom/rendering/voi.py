"""From values to shades of grey (PS3.3 section C.11.2)."""

import numpy as np
from numpy.typing import NDArray

from server.dicom.rendering.lookup_tables import fractions_of, looked_up
from server.model.rendering import LookupTable, Output, Presentation, Window, WindowFunction

Range = tuple[float, float]
Voi = Window | LookupTable | Range
"""What decides which values are black and white, and what is between."""

WHITE = 255.0
_STEEPEST = 60.0


def chosen_voi(presentation: Presentation, output: Output) -> Voi | None:
    """Return what holds for a picture; None if black and white are the frame's own lowest and highest value.

    A window that was asked for comes first, then the first of the object's that has a width, its first VOI LUT, and
    the range that its kind of object has.
    """
    requested = (output.window,) if output.window else ()
    windows = [window for window in (*requested, *presentation.windows) if window.width > 0]
    return windows[0] if windows else presentation.voi_luts[0] if presentation.voi_luts else presentation.value_range


def shades(values: NDArray[np.float64], voi: Voi) -> NDArray[np.uint8]:
    """Return 0 (black) to 255 for each value; black for what is not a number."""
    if isinstance(voi, Window):
        bright: NDArray[np.float64] = _windowed(values, voi)
    elif isinstance(voi, LookupTable):
        bright = looked_up(fractions_of(voi), voi.first, values) * WHITE
    else:
        low, high = voi
        bright = (values - low) * WHITE / (high - low) if high > low else np.where(values > low, WHITE, 0.0)
    # fmax and fmin prefer what is a number
    return np.rint(np.fmin(np.fmax(bright, 0.0), WHITE)).astype(np.uint8)


def _windowed(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Return brightness, which may lie outside of what can be shown."""
    center, width = window.center, window.width
    if window.function is WindowFunction.SIGMOID:
        return np.asarray(WHITE / (1 + np.exp(np.clip(-4 * (values - center) / width, -_STEEPEST, _STEEPEST))))
    if window.function is WindowFunction.LINEAR and width >= 1:
        # Integers are meant as the middles of intervals (PS3.3 section C.11.2.1.2.1).
        center, width = center - 0.5, width - 1
        if width == 0:
            return np.where(values > center, WHITE, 0.0)
    # LINEAR_EXACT; also for widths that LINEAR doesn't allow, which are met in images of floats
    return (values - center) * WHITE / width + WHITE / 2
