// Location of the application in the fragment of the URL: "#/studies?PatientName=DOE*", and with data partitions
// "#/partitions/radiology/studies?PatientName=DOE*". Browsers do not send the fragment, so no server logs it.
import { createStore, useStore } from "./store.js";

/** The partition of requests without one in their path. */
export const DEFAULT_PARTITION = "Microsoft.Default";

const IN_PARTITION = /^\/partitions\/([^/]+)(\/.*)?$/;

/** Return `partition` ("" without one), `path` ("/studies"), its `segments`, and `params` of a fragment. */
export function parse(hash) {
  const [whole, query = ""] = splitOnce(hash.replace(/^#/, ""), "?");
  const found = IN_PARTITION.exec(whole);
  const path = (found ? found[2] : whole) || "/";
  return {
    partition: found ? decoded(found[1]) : "",
    path,
    segments: path.split("/").filter(Boolean).map(decoded),
    params: new URLSearchParams(query),
  };
}

const location = createStore(parse(window.location.hash));
const read = () => location.set(parse(window.location.hash));
window.addEventListener("hashchange", read);

/** Return the current location, in a component. */
export const useLocation = () => useStore(location);

/** Return the current location. */
export const currentLocation = () => location.value;

/**
 * Return the URL of a page in the current partition, or in `partition`.
 *
 * `path` is "/studies" or an array of segments, which are encoded. Parameters without a value are left out; those with
 * an array are repeated.
 */
export function href(path, params = {}, partition = location.value.partition) {
  const whole = Array.isArray(path) ? `/${path.map(encodeURIComponent).join("/")}` : path;
  const prefix = partition ? `/partitions/${encodeURIComponent(partition)}` : "";
  const query = queryOf(params);
  return `#${prefix}${whole}${query && `?${query}`}`;
}

/** Go to a page. With `replace`, the back button leads to the page before the present one. */
export function navigate(path, params = {}, { replace = false, partition } = {}) {
  const target = href(path, params, partition);
  if (target === window.location.hash) return;
  if (replace) {
    history.replaceState(null, "", target);
    read();
  } else {
    window.location.hash = target; // "hashchange" follows
  }
}

/** Show the page of a fragment in place of the present one. */
export function restore(hash) {
  history.replaceState(null, "", hash);
  read();
}

/** Change parameters of the current page; those with the value null or "" are removed. */
export function setParams(changes, options) {
  const params = Object.fromEntries([...new Set(location.value.params.keys())].map((key) => [key, location.value.params.getAll(key)]));
  navigate(location.value.path, { ...params, ...changes }, options);
}

/** Return parameters as a query string without "?". */
export function queryOf(params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") query.append(name, each);
    }
  }
  return query.toString();
}

function splitOnce(text, separator) {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
