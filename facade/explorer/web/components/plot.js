// A line plot of values over time, as SVG. Lines differ by colour and dashes, and the legend has the latest values.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { useId } from "./fields.js";

const HEIGHT = 150;
const LEFT = 64;
const BOTTOM = 22;
const TOP = 8;
const STEPS = [1, 2, 2.5, 5, 10];

/**
 * A plot.
 *
 * `title`; `lines`: `{ name, values }` with one value (or null) for each of `times`, in seconds before now; `span`: seconds
 * that the plot covers; `format(value)`: for the scale and the legend; `least`: the smallest end of the scale.
 */
export function Plot({ title, lines, times, span, format, least = 1 }) {
  const frame = useRef(null);
  const [width, setWidth] = useState(480);
  const id = useId();
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(200, Math.floor(entry.contentRect.width))));
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, []);
  const top = niceEnd(Math.max(least, ...lines.flatMap(({ values }) => values.filter((each) => each !== null))));
  const x = (seconds) => LEFT + (width - LEFT - 4) * (1 - seconds / span);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const last = (values) => values.findLast((each) => each !== null);
  return html`<figure class="card plot" aria-labelledby=${id}>
    <figcaption id=${id}>
      <h2>${title}</h2>
      <ul class="legend">
        ${lines.map(
          ({ name, values }, index) => html`<li key=${name}>
            <svg width="22" height="8" aria-hidden="true"><path class="line line-${index}" d="M1 4H21" /></svg>
            ${name} <strong>${last(values) === undefined ? "–" : format(last(values))}</strong>
          </li>`,
        )}
      </ul>
    </figcaption>
    <div ref=${frame}>
      <svg width=${width} height=${HEIGHT} viewBox="0 0 ${width} ${HEIGHT}" aria-hidden="true" focusable="false">
        ${[0, 0.5, 1].map(
          (part) => html`<g key=${part}>
            <path class="grid-line" d="M${LEFT} ${y(part * top)}H${width - 4}" />
            <text class="scale" x=${LEFT - 8} y=${y(part * top) + 4} text-anchor="end">${format(part * top)}</text>
          </g>`,
        )}
        <text class="scale" x=${LEFT} y=${HEIGHT - 5}>−${Math.round(span / 60)} min</text>
        <text class="scale" x=${width - 4} y=${HEIGHT - 5} text-anchor="end">0</text>
        ${lines.map(({ name, values }, index) => html`<path key=${name} class="line line-${index}" d=${pathOf(values, times, x, y)} />`)}
      </svg>
    </div>
  </figure>`;
}

/** The path through the values; a gap where there is none. */
function pathOf(values, times, x, y) {
  let path = "";
  let isOpen = false;
  values.forEach((value, index) => {
    if (value === null) {
      isOpen = false;
      return;
    }
    path += `${isOpen ? "L" : "M"}${x(times[index]).toFixed(1)} ${y(value).toFixed(1)}`;
    isOpen = true;
  });
  return path;
}

/** The next of 1, 2, 2.5, 5 times a power of ten. */
function niceEnd(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return STEPS.find((step) => step * power >= value) * power;
}
