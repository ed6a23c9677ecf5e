// Waveforms such as an ECG, drawn as on paper: 25 mm for a second, 10 mm for a millivolt (PS3.3 section C.10.9).
import { html, useEffect, useRef, useState } from "../../vendor/htm-preact-standalone.js";
import { Select } from "../../components/fields.js";
import { Empty, Failure, Loading, useLoaded } from "../../components/states.js";
import { request } from "../../lib/api.js";
import { textOf, valueOf, valuesOf } from "../../lib/dicom.js";
import { t } from "../../lib/texts.js";

const PIXELS_PER_MM = 4;
const MM_PER_S = 25;
const MM_PER_MV = 10;
const ROW_MM = 24;
const MARGIN_MM = 12;
const MOST_S = 12;
const SAMPLE_BYTES = { SS: 2, US: 2, SB: 1, UB: 1, SL: 4, UL: 4 };
const MILLIVOLTS = { uV: 0.001, mV: 1, V: 1000 };

/** The groups of channels, those that can be drawn: `{ title, channels, count, rate, item, number }`. */
function groupsOf(metadata) {
  return valuesOf(metadata, "54000100")
    .map((item, at) => ({
      item,
      number: at + 1,
      title: textOf(item, "003A0020"),
      count: Number(valueOf(item, "003A0010") ?? 0),
      rate: Number(valueOf(item, "003A001A") ?? 0),
      channels: valuesOf(item, "003A0200"),
      form: textOf(item, "54001006"),
    }))
    .filter((group) => group.count > 0 && group.rate > 0 && group.channels.length > 0 && group.form in SAMPLE_BYTES);
}

const nameOf = (channel, at) => textOf(channel, "003A0203") || textOf(valueOf(channel, "003A0208"), "00080104") || String(at + 1);

/** The factor and offset from samples to millivolts; other units are drawn with their own values. */
function scaleOf(channel) {
  const unit = textOf(valueOf(channel, "003A0211"), "00080100");
  const sensitivity = Number(valueOf(channel, "003A0210") ?? 1) * Number(valueOf(channel, "003A0212") ?? 1);
  return { factor: sensitivity * (MILLIVOLTS[unit] ?? 1), baseline: Number(valueOf(channel, "003A0213") ?? 0) };
}

/** Samples of a group, by channel; values are little endian and interleaved. */
async function samplesOf(path, group, signal) {
  const response = await request(`${path}/bulkdata/54000100/${group.number}/54001010`, { headers: { Accept: "application/octet-stream" }, signal });
  const bytes = new DataView(await response.arrayBuffer());
  const width = SAMPLE_BYTES[group.form];
  const read = { SS: "getInt16", US: "getUint16", SB: "getInt8", UB: "getUint8", SL: "getInt32", UL: "getUint32" }[group.form];
  const shown = Math.min(group.count, Math.floor(group.rate * MOST_S), Math.floor(bytes.byteLength / width / group.channels.length));
  return group.channels.map((_, channel) => Float32Array.from({ length: shown }, (__, at) => bytes[read]((at * group.channels.length + channel) * width, true)));
}

export function Waveform({ path, metadata }) {
  const groups = groupsOf(metadata);
  const [number, setNumber] = useState(groups[0]?.number ?? 0);
  const group = groups.find((each) => each.number === number);
  if (!group) return html`<${Empty} icon="activity" title=${t("study.unknown")} />`;
  return html`
    ${groups.length > 1 &&
    html`<div class="instance-choice"><${Select}
      label=${t("waveform.group")}
      value=${String(number)}
      options=${groups.map((each) => [String(each.number), each.title || String(each.number)])}
      onChange=${(value) => setNumber(Number(value))}
    /></div>`}
    <${Drawing} key=${number} path=${path} group=${group} />
  `;
}

function Drawing({ path, group }) {
  const { value: channels, error, reload } = useLoaded((signal) => samplesOf(path, group, signal), [path, group.number]);
  const canvas = useRef(null);
  const names = group.channels.map(nameOf);
  useEffect(() => {
    if (!channels) return undefined;
    const colours = window.matchMedia("(prefers-color-scheme: dark)");
    const again = () => draw(canvas.current, channels, group, names);
    again();
    colours.addEventListener("change", again);
    const observer = new MutationObserver(again);
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-appearance"] });
    return () => {
      colours.removeEventListener("change", again);
      observer.disconnect();
    };
  }, [channels]);
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!channels) return html`<${Loading} />`;
  const seconds = channels[0].length / group.rate;
  return html`<div class="waveform" tabindex="0" role="region" aria-label=${t("waveform.region")}>
    <canvas ref=${canvas} role="img" aria-label=${t("waveform.label", { names: names.join(", "), seconds: Math.round(seconds * 10) / 10 })}></canvas>
  </div>
  <p class="hint">${t("waveform.scale")}</p>`;
}

function draw(canvas, channels, group, names) {
  const density = window.devicePixelRatio || 1;
  const width = (MARGIN_MM + (channels[0].length / group.rate) * MM_PER_S) * PIXELS_PER_MM;
  const height = (channels.length * ROW_MM + 8) * PIXELS_PER_MM;
  canvas.width = width * density;
  canvas.height = height * density;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const style = getComputedStyle(canvas);
  const context = canvas.getContext("2d");
  context.scale(density, density);
  for (const [step, colour] of [
    [1, style.borderTopColor],
    [5, style.borderBottomColor],
  ]) {
    context.beginPath();
    for (let x = 0; x <= width; x += step * PIXELS_PER_MM) context.rect(x, 0, 0.5, height);
    for (let y = 0; y <= height; y += step * PIXELS_PER_MM) context.rect(0, y, width, 0.5);
    context.fillStyle = colour;
    context.fill();
  }
  context.font = `600 13px ${style.fontFamily}`;
  context.lineWidth = 1.3;
  context.lineJoin = "round";
  channels.forEach((samples, at) => {
    const middle = (at * ROW_MM + ROW_MM / 2 + 4) * PIXELS_PER_MM;
    const { factor, baseline } = scaleOf(group.channels[at]);
    context.fillStyle = style.color;
    context.fillText(names[at].replace(/ ?\(.*\)$/, ""), 4, middle - 8 * PIXELS_PER_MM);
    context.strokeStyle = style.color;
    context.beginPath();
    samples.forEach((sample, index) => {
      const x = (MARGIN_MM + (index / group.rate) * MM_PER_S) * PIXELS_PER_MM;
      const y = middle - (sample * factor + baseline * factor) * MM_PER_MV * PIXELS_PER_MM;
      if (index === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    });
    context.stroke();
  });
}
