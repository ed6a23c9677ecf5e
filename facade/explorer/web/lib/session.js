// What the application has to know at its start, the data partitions, and the login.
import { createStore } from "./store.js";

/** The root of the service, also behind a proxy that adds a prefix: this file is at explorer/{digest}/lib/session.js. */
export const ROOT = new URL("../../../", import.meta.url);

const RETURN_KEY = "dicomstore.return";
const TRIED_KEY = "dicomstore.login";
const AGAIN_MS = 10_000;

/** `{ hasPartitions, needsLogin, hasSession, hasViewer, viewers }` of facade/explorer/site.py; null until loaded. */
export const settings = createStore(null);

/** Names of the data partitions; empty if partitions are disabled. */
export const partitions = createStore([]);

/**
 * Go to the login, which leads back to the present page. The fragment stays in this browser, because it may contain
 * patient data. Returns false if that was tried a moment ago: then the login does not help.
 */
export function logIn() {
  const now = Date.now();
  if (now - Number(sessionStorage.getItem(TRIED_KEY)) < AGAIN_MS) return false;
  sessionStorage.setItem(TRIED_KEY, String(now));
  sessionStorage.setItem(RETURN_KEY, window.location.hash);
  window.location.assign(new URL(`login?return_to=${encodeURIComponent(ROOT.pathname)}`, ROOT));
  return true;
}

/** Return the fragment of the page from which the login was started, once; "" without one. */
export function takeReturn() {
  const kept = sessionStorage.getItem(RETURN_KEY) ?? "";
  sessionStorage.removeItem(RETURN_KEY);
  return window.location.hash ? "" : kept;
}
