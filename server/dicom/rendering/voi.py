"""Modality values to shades of grey (VOI LUT and windows; PS3.3 section C.11.2)."""

import numpy as np
from numpy.typing import NDArray

from server.dicom.rendering.lookup_tables import fractions_of, looked_up
from server.model.rendering import LookupTable, Output, Presentation, Window, WindowFunction

Range = tuple[float, float]
Voi = Window | LookupTable | Range
"""The transformation to shades of grey: a window, a VOI LUT, or the values shown black and white."""

WHITE = 255.0
_STEEPEST = 60.0


def chosen_voi(presentation: Presentation, output: Output) -> Voi | None:
    """Return the VOI transformation to use; None to use the minimum and maximum of the frame.

    In order of precedence: the requested window, the first usable window of the data set, its first VOI LUT, the value
    range of its kind of object.
    """
    requested = (output.window,) if output.window else ()
    windows = [window for window in (*requested, *presentation.windows) if window.width > 0]
    return windows[0] if windows else presentation.voi_luts[0] if presentation.voi_luts else presentation.value_range


def shades(values: NDArray[np.float64], voi: Voi) -> NDArray[np.uint8]:
    """Return 0 (black) to 255 for each value; black for NaN."""
    if isinstance(voi, Window):
        bright: NDArray[np.float64] = _windowed(values, voi)
    elif isinstance(voi, LookupTable):
        bright = looked_up(fractions_of(voi), voi.first, values) * WHITE
    else:
        low, high = voi
        bright = (values - low) * WHITE / (high - low) if high > low else np.where(values > low, WHITE, 0.0)
    # fmax and fmin ignore NaN.
    return np.rint(np.fmin(np.fmax(bright, 0.0), WHITE)).astype(np.uint8)


def _windowed(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Apply a window; the result may lie outside 0 to 255."""
    center, width = window.center, window.width
    if window.function is WindowFunction.SIGMOID:
        return np.asarray(WHITE / (1 + np.exp(np.clip(-4 * (values - center) / width, -_STEEPEST, _STEEPEST))))
    if window.function is WindowFunction.LINEAR and width >= 1:
        # Integers denote the centers of intervals (PS3.3 section C.11.2.1.2.1).
        center, width = center - 0.5, width - 1
        if width == 0:
            return np.where(values > center, WHITE, 0.0)
    # LINEAR_EXACT; also for widths below 1, which LINEAR does not allow but images of floats have.
    return (values - center) * WHITE / width + WHITE / 2
