// A small image of a study, series, instance or frame.
import { html, useState } from "../vendor/htm-preact-standalone.js";
import { urlOf } from "../lib/api.js";
import { Icon } from "./icons.js";

const PIXELS = 128;
const loaded = new Set();
const MOST = 5000;

/**
 * The thumbnail of a resource: `path` as in "/studies/1.2.3". While `isDelayed`, nothing is requested that was not shown before.
 * It is decoration: the text beside it says what it is.
 */
export function Thumbnail({ path, isDelayed = false, size = 40 }) {
  const url = urlOf(`${path}/thumbnail`, { viewport: `${PIXELS},${PIXELS}` });
  const [failed, setFailed] = useState("");
  const isShown = failed !== url && (!isDelayed || loaded.has(url));
  return html`<span class="thumbnail" style=${{ width: `${size}px`, height: `${size}px` }}>
    ${isShown
      ? html`<img
          src=${url}
          alt=""
          decoding="async"
          draggable=${false}
          onLoad=${() => {
            if (loaded.size > MOST) loaded.clear();
            loaded.add(url);
          }}
          onError=${() => setFailed(url)}
        />`
      : html`<${Icon} name="image" size=${Math.round(size / 2)} />`}
  </span>`;
}
