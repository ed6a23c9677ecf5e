// Images of a series: scrolling through instances and frames, windows, zoom and pan, cine.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../vendor/htm-preact-standalone.js";
import { Button } from "../../components/buttons.js";
import { toastError } from "../../components/toasts.js";
import { textOf, valueOf } from "../../lib/dicom.js";
import { FrameCache } from "../../lib/frames.js";
import { setParams } from "../../lib/router.js";
import { t } from "../../lib/texts.js";
import { isGrey, windowsOf } from "../../lib/windows.js";

const QUALITY = 92;
const LARGE = 1400; // images with more pixels in a row are scaled by the archive, unless they are enlarged
const AHEAD = 12;
const ZOOM_STEP = 1.25;
const MAX_ZOOM = 12;
const WINDOW_MS = 70;
const URL_MS = 250;
const DEFAULT_RATE = 12;
const RATES = [2, 5, 8, 12, 15, 20, 25, 30, 40, 50, 60];
const WHEEL_STEP = 40;
const FIT = { zoom: 1, x: 0, y: 0 };

const uidOf = (instance) => textOf(instance, "SOPInstanceUID");
const framesOf = (instance) => Math.max(1, Number(valueOf(instance, "NumberOfFrames") ?? 1));

/** All frames of the images of a series in order: `length`, `at(index)`: `{ instance, frame }`, and `indexOf(uid, frame)`. */
function stackOf(instances) {
  const images = instances.filter((each) => textOf(each, "Rows"));
  const starts = [];
  let length = 0;
  for (const image of images) {
    starts.push(length);
    length += framesOf(image);
  }
  return {
    length,
    at(index) {
      let low = 0;
      let high = starts.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (starts[middle] <= index) low = middle;
        else high = middle - 1;
      }
      return { instance: images[low], frame: index - starts[low] + 1 };
    },
    indexOf(uid, frame) {
      const at = images.findIndex((each) => uidOf(each) === uid);
      return at < 0 ? 0 : starts[at] + Math.min(framesOf(images[at]), Math.max(1, frame)) - 1;
    },
  };
}

/** The rate that the object recommends (PS3.3 sections C.7.6.5 and C.7.6.6), in frames a second. */
function rateOf(metadata) {
  const rate = Number(valueOf(metadata, "00082144") ?? valueOf(metadata, "00180040") ?? 0);
  const time = Number(valueOf(metadata, "00181063") ?? 0);
  const found = rate > 0 ? rate : time > 0 ? 1000 / time : DEFAULT_RATE;
  return RATES.reduce((best, each) => (Math.abs(each - found) < Math.abs(best - found) ? each : best));
}

export function ImageView({ path, metadata, instances, instance, params }) {
  const stack = useMemo(() => stackOf(instances), [instances]);
  const cache = useMemo(() => new FrameCache(), [path]);
  const asked = stack.indexOf(params.get("instance") ?? uidOf(instance), Number(params.get("frame") ?? 1));
  const [index, setIndex] = useState(asked);
  const [view, setView] = useState(FIT);
  const [choice, setChoice] = useState("");
  const [custom, setCustom] = useState(null);
  const [isPlaying, setPlaying] = useState(false);
  const [rate, setRate] = useState(() => rateOf(metadata));
  const [shown, setShown] = useState({ source: "", index: -1 });
  const stage = useRef(null);
  const sent = useRef(asked);
  useEffect(() => () => cache.close(), [cache]);

  const windows = windowsOf(metadata);
  const window_ = custom ?? windows.find((each) => each.key === choice) ?? null;
  const windowText = window_ ? `${window_.center},${window_.width},linear` : "";
  const widest = Math.max(Number(valueOf(metadata, "Columns") ?? 0), Number(valueOf(metadata, "Rows") ?? 0));
  const isScaled = widest > LARGE && view.zoom <= ZOOM_STEP;

  const frameAt = (position) => {
    const { instance: of, frame } = stack.at(position);
    const below = `${path}/instances/${uidOf(of)}`;
    const asks = { window: windowText, viewport: isScaled ? `${LARGE},${LARGE}` : "", quality: QUALITY, accept: "image/jpeg" };
    const resource = framesOf(of) > 1 ? `${below}/frames/${frame}/rendered` : `${below}/rendered`;
    return { key: `${resource} ${windowText} ${isScaled}`, path: resource, params: asks };
  };

  useEffect(() => {
    let isWanted = true;
    const frame = frameAt(index);
    const source = cache.ready(frame.key);
    if (source) setShown({ source, index });
    cache.load(frame.key, frame.path, frame.params).then(
      (loaded) => isWanted && setShown({ source: loaded, index }),
      (error) => isWanted && toastError(error),
    );
    const around = [];
    for (let step = 1; step <= AHEAD; step += 1) {
      around.push((index + step) % stack.length);
      if (!isPlaying && step <= 4) around.push((index - step + stack.length) % stack.length);
    }
    cache.prefetch([...new Set(around)].map(frameAt));
    return () => {
      isWanted = false;
    };
  }, [index, windowText, isScaled, isPlaying, stack]);

  // The place is in the URL when scrolling has ended; a changed URL moves to its place.
  useEffect(() => {
    if (index === sent.current || isPlaying) return undefined;
    const timer = setTimeout(() => {
      sent.current = index;
      const { instance: of, frame } = stack.at(index);
      setParams({ instance: uidOf(of), frame: framesOf(of) > 1 ? frame : null }, { replace: true });
    }, URL_MS);
    return () => clearTimeout(timer);
  }, [index, isPlaying, stack]);
  useEffect(() => {
    if (asked !== sent.current) {
      sent.current = asked;
      setIndex(asked);
    }
  }, [asked]);

  // Cine waits for frames that are not loaded yet, so that none is left out.
  useEffect(() => {
    if (!isPlaying) return undefined;
    let request = 0;
    let due = performance.now();
    const tick = (now) => {
      if (now >= due) {
        setIndex((at) => {
          const next = (at + 1) % stack.length;
          if (!cache.ready(frameAt(next).key)) return at;
          due = Math.max(due + 1000 / rate, now - 1000 / rate);
          return next;
        });
      }
      request = requestAnimationFrame(tick);
    };
    request = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(request);
  }, [isPlaying, rate, windowText, isScaled, stack]);

  const move = (steps) => setIndex((at) => Math.max(0, Math.min(stack.length - 1, at + steps)));
  const zoom = (factor, at = null) =>
    setView((now) => {
      const next = Math.max(1, Math.min(MAX_ZOOM, now.zoom * factor));
      if (next === 1) return FIT;
      // The point under the pointer stays where it is.
      const box = stage.current.getBoundingClientRect();
      const [x, y] = at ? [at.clientX - box.left - box.width / 2, at.clientY - box.top - box.height / 2] : [0, 0];
      const ratio = next / now.zoom;
      return { zoom: next, x: x - (x - now.x) * ratio, y: y - (y - now.y) * ratio };
    });
  const gestures = useGestures({ stage, view, setView, zoom, move, metadata, window: window_, windows, setCustom });
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowDown: () => move(1),
      ArrowUp: () => move(-1),
      ArrowRight: () => move(1),
      ArrowLeft: () => move(-1),
      PageDown: () => move(10),
      PageUp: () => move(-10),
      Home: () => setIndex(0),
      End: () => setIndex(stack.length - 1),
      "+": () => zoom(ZOOM_STEP),
      "-": () => zoom(1 / ZOOM_STEP),
      0: () => setView(FIT),
      " ": () => stack.length > 1 && setPlaying(!isPlaying),
    }[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  };
  const position = t("image.position", { number: index + 1, count: stack.length });
  const transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  return html`<div class="image-view">
    <div class="toolbar" role="toolbar" aria-label=${t("image.tools")}>
      ${isGrey(metadata) &&
      html`<label class="toolbar-field"><span class="visually-hidden">${t("image.window")}</span>
        <select
          onChange=${(event) => {
            setCustom(null);
            setChoice(event.target.value);
          }}
        >
          <option value="" selected=${!window_}>${t("image.window.default")}</option>
          ${windows.map((each) => html`<option key=${each.key} value=${each.key} selected=${!custom && each.key === choice}>${each.name || t(`image.window.${each.key.startsWith("own") ? "own" : each.key}`, { center: each.center, width: each.width })}</option>`)}
          ${custom && html`<option value="custom" selected>${t("image.window.custom", { center: custom.center, width: custom.width })}</option>`}
        </select>
      </label>`}
      <${Button} kind="quiet" icon="zoomIn" label=${t("image.zoomIn")} onClick=${() => zoom(ZOOM_STEP)} />
      <${Button} kind="quiet" icon="zoomOut" label=${t("image.zoomOut")} disabled=${view.zoom === 1} onClick=${() => zoom(1 / ZOOM_STEP)} />
      <${Button} kind="quiet" icon="fit" label=${t("image.fit")} disabled=${view === FIT} onClick=${() => setView(FIT)} />
      ${stack.length > 1 &&
      html`
        <${Button} kind="quiet" icon=${isPlaying ? "pause" : "play"} label=${isPlaying ? t("image.pause") : t("image.play")} onClick=${() => setPlaying(!isPlaying)} />
        <label class="toolbar-field rate"><span class="visually-hidden">${t("image.rate")}</span>
          <select onChange=${(event) => setRate(Number(event.target.value))}>
            ${RATES.map((each) => html`<option key=${each} value=${each} selected=${each === rate}>${t("image.rate.value", { rate: each })}</option>`)}
          </select>
        </label>
      `}
    </div>
    <div
      ref=${stage}
      class="stage ${view.zoom > 1 ? "zoomed" : ""}"
      role="group"
      tabindex="0"
      aria-label=${t("image.stage")}
      aria-describedby="image-help"
      onKeyDown=${keys}
      ...${gestures}
    >
      ${shown.source && html`<img class="frame" src=${shown.source} alt=${position} draggable=${false} data-index=${shown.index} style=${{ transform }} />`}
      <span class="stage-text">${position}${window_ ? html`<br />${t("image.window.values", { center: window_.center, width: window_.width })}` : null}</span>
    </div>
    ${stack.length > 1 &&
    html`<input
      class="position"
      type="range"
      min="1"
      max=${stack.length}
      value=${index + 1}
      aria-label=${t("image.slider")}
      aria-valuetext=${position}
      onInput=${(event) => {
        setPlaying(false);
        setIndex(Number(event.target.value) - 1);
      }}
    />`}
    <p id="image-help" class="hint">${t("image.help")}</p>
  </div>`;
}

/** Handlers of wheel and pointers: scroll, Ctrl with wheel or two fingers zoom, drag pans, right drag changes the window. */
function useGestures({ stage, view, setView, zoom, move, metadata, window: current, windows, setCustom }) {
  const pointers = useRef(new Map());
  const wheel = useRef(0);
  const started = useRef(null);
  const timer = useRef(0);
  const latest = useRef({});
  latest.current = { zoom, move };
  useLayoutEffect(() => {
    const element = stage.current;
    const turned = (event) => {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) {
        latest.current.zoom(Math.exp(-event.deltaY / 300), event);
        return;
      }
      wheel.current += event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_STEP;
      const steps = Math.trunc(wheel.current / WHEEL_STEP);
      wheel.current -= steps * WHEEL_STEP;
      if (steps) latest.current.move(steps);
    };
    element.addEventListener("wheel", turned, { passive: false });
    return () => element.removeEventListener("wheel", turned);
  }, []);
  useEffect(() => () => clearTimeout(timer.current), []);
  const base = current ?? windows[0] ?? { center: 128, width: 256 };
  const distance = () => {
    const [a, b] = [...pointers.current.values()];
    return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  };
  return {
    onContextMenu: (event) => event.preventDefault(),
    onPointerDown: (event) => {
      if (event.button > 2) return;
      stage.current.setPointerCapture(event.pointerId);
      pointers.current.set(event.pointerId, event);
      started.current = { view, base, x: event.clientX, y: event.clientY, isWindow: event.button === 2 && isGrey(metadata), moved: 0 };
      if (pointers.current.size === 2) started.current.distance = distance();
    },
    onPointerMove: (event) => {
      const before = pointers.current.get(event.pointerId);
      const start = started.current;
      if (!before || !start) return;
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      pointers.current.set(event.pointerId, event);
      if (pointers.current.size === 2) {
        const now = distance();
        zoom(now / start.distance, event);
        start.distance = now;
      } else if (start.isWindow) {
        const [x, y] = [event.clientX - start.x, event.clientY - start.y];
        const step = Math.max(1, start.base.width / 300);
        const next = { key: "custom", name: "", center: Math.round(start.base.center + y * step), width: Math.max(1, Math.round(start.base.width + x * step)) };
        clearTimeout(timer.current);
        timer.current = setTimeout(setCustom, WINDOW_MS, next);
      } else if (view.zoom > 1) {
        setView((now) => ({ ...now, x: now.x + dx, y: now.y + dy }));
      } else if (event.pointerType === "touch") {
        start.moved += dy;
        const steps = Math.trunc(start.moved / WHEEL_STEP);
        start.moved -= steps * WHEEL_STEP;
        if (steps) move(steps);
      }
    },
    onPointerUp: (event) => pointers.current.delete(event.pointerId),
    onPointerCancel: (event) => pointers.current.delete(event.pointerId),
  };
}
