"""Two kinds of plots as SVG, readable on light and dark pages: bars of ratios, and lines over sizes, on log axes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.figures import short

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8558f", "#a87400", "#2f8fbf", "#7a5cb0", "#777777")
_DARK_COLOURS = ("#4aa3df", "#ff8a3d", "#2fc79a", "#e79bc6", "#e6b422", "#7cc7f0", "#b39ddb", "#a8a8a8")
_DASHES = ("", "6 3", "2 3")
_ROW, _BAR = 30, 11
_LABEL_STEP = 15


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis between two coordinates."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = math.log10(value / self.low) / math.log10(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 of each power of ten, or only the powers of ten if there are many."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(powers) <= 4 else (1,)
        return [step * 10.0**power for power in powers for step in steps if self.low <= step * 10.0**power <= self.high]


def ratio_bars(title: str, axis_title: str, bars: Mapping[str, Mapping[str, float]]) -> str:
    """Draw a group of bars per name, with a bar per series, from 1 to the right or left on a log axis.

    `bars` maps names to ratios by series; all names have the same series.
    """
    series = list(next(iter(bars.values())))
    values = [value for group in bars.values() for value in group.values()]
    left, width, top = 240, 900, 78
    bottom = top + _ROW * len(bars)
    axis = _Axis(min(0.5, *values) / 1.1, max(2.0, *values) * 1.4, left, width - 30)
    parts = [_text(16, 26, title, "title"), *_legend(series, 16, 50)]
    for tick in axis.ticks():
        x = axis.place(tick)
        parts += [
            _line(x, top - 6, x, bottom, "one" if tick == 1 else "grid"),
            _text(x, bottom + 18, f"{tick:g}×", "mid"),
        ]
    for row, (name, group) in enumerate(bars.items()):
        y = top + row * _ROW
        parts.append(_text(left - 12, y + 18, name, "end"))
        for number, value in enumerate(group.values()):
            begin, end = sorted((axis.place(1), axis.place(value)))
            at = y + 3 + number * (_BAR + 1)
            parts.append(
                f'<rect class="fill{number}" x="{begin}" y="{at}" width="{max(1.0, end - begin):.1f}" height="{_BAR}"/>'
            )
            parts.append(_text(end + 4, at + _BAR - 2, f"{short(value)}×", "small"))
    parts.append(_text((left + width) / 2, bottom + 42, axis_title, "mid"))
    return _svg(title, width, bottom + 56, parts)


def lines(title: str, x_title: str, y_title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw a line through the points (x, y) of each series, labelled at its right end, on logarithmic axes."""
    points = [point for line in series.values() for point in line]
    left, right, width, top = 76, 640, 900, 60
    bottom = top + max(360, _LABEL_STEP * (len(series) + 2))
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    across = _Axis(low / 1.15, high * 1.15, left, right)
    up = _Axis(min(y for _, y in points) / 1.3, max(y for _, y in points) * 1.3, bottom, top)
    parts = [_text(16, 26, title, "title")]
    for tick in up.ticks():
        y = up.place(tick)
        parts += [_line(left, y, right, y, "grid"), _text(left - 8, y + 4, f"{tick:g}", "end")]
    for size in sorted({x for x, _ in points}):
        x = across.place(size)
        parts += [_line(x, top, x, bottom, "grid"), _text(x, bottom + 18, f"{size:,.0f}", "mid")]
    ends = {name: up.place(max(line)[1]) for name, line in series.items()}
    labels = _apart(ends, top, bottom)
    for number, (name, line) in enumerate(series.items()):
        colour = number % len(_COLOURS)
        dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
        path = " ".join(f"{across.place(x)},{up.place(y)}" for x, y in sorted(line))
        parts.append(f'<polyline class="line{colour}" stroke-dasharray="{dash}" points="{path}"/>')
        parts += [
            f'<circle class="fill{colour}" cx="{across.place(x)}" cy="{up.place(y)}" r="3"/>' for x, y in sorted(line)
        ]
        end = across.place(max(line)[0])
        parts.append(f'<polyline class="lead line{colour}" points="{end},{ends[name]} {right + 14},{labels[name]}"/>')
        parts.append(_text(right + 18, labels[name] + 4, f"{name}  {short(max(line)[1])}", "small"))
    parts.append(_text((left + right) / 2, bottom + 42, x_title, "mid"))
    parts.append(
        f'<text class="mid" transform="translate(20 {(top + bottom) / 2}) rotate(-90)">{escape(y_title)}</text>'
    )
    return _svg(title, width, bottom + 56, parts)


def _apart(wanted: Mapping[str, float], top: float, bottom: float) -> dict[str, float]:
    """Return positions near the wanted ones, in their order, at least a line of text apart."""
    places: dict[str, float] = {}
    least = float(top)
    for rank, (name, place) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        room_below = bottom - _LABEL_STEP * (len(wanted) - 1 - rank)
        places[name] = max(least, min(place, room_below))
        least = places[name] + _LABEL_STEP
    return places


def _legend(series: Sequence[str], x: float, y: float) -> list[str]:
    parts = []
    for number, name in enumerate(series):
        parts.append(f'<rect class="fill{number}" x="{x}" y="{y - 10}" width="12" height="12"/>')
        parts.append(_text(x + 18, y, name, ""))
        x += 40 + 7 * len(name)
    return parts


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    def colours(of: Sequence[str]) -> str:
        return "".join(f".fill{n}{{fill:{c}}}.line{n}{{stroke:{c}}}" for n, c in enumerate(of))

    style = (
        "text{font:13px system-ui,'DejaVu Sans',sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}"
        ".small{font-size:11px}.mid{text-anchor:middle}.end{text-anchor:end}.page{fill:#ffffff}"
        ".grid{stroke:#d0d7de}.one{stroke:#1f2328;stroke-width:1.5}polyline{fill:none;stroke-width:2}"
        ".lead{stroke-width:1;opacity:.5}"
        f"{colours(_COLOURS)}"
        "@media (prefers-color-scheme:dark){"
        "text{fill:#e6edf3}.page{fill:#0d1117}.grid{stroke:#30363d}.one{stroke:#e6edf3}"
        f"{colours(_DARK_COLOURS)}}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>{escape(title)}</title><style>{style}</style>'
        f'<rect class="page" width="{width}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
