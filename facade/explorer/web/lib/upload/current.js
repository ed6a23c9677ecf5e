// The upload of this page. It continues while the user looks at other pages, and the browser warns before the page is left.
import { urlOf } from "../api.js";
import { createStore } from "../store.js";
import { Upload } from "./engine.js";
import * as ledger from "./ledger.js";

const UNFINISHED = ["running", "paused", "interrupted"];

/** `{ upload }`, a new object at each change; `upload` is null before the first one. */
export const current = createStore({ upload: null });

/** Whether an upload is not finished. */
export const isActive = () => UNFINISHED.includes(current.value.upload?.state);

const warn = (event) => {
  if (isActive()) event.preventDefault();
};

/**
 * Upload the files of a generator to a target: `url`, and `name`, under which this browser keeps an unfinished upload; by
 * default the current partition. `handles` are kept until the end, so that the upload can continue after a reload; `kept`
 * is an unfinished upload that this one continues.
 */
export async function start(files, { target = null, handles = [], kept = null } = {}) {
  const { url, name } = target ?? ownTarget();
  const recorded = kept ?? (ledger.canKeep() ? await ledger.begin(name, handles).catch(() => null) : null);
  const upload = new Upload(url, { kept: recorded, onChange: () => current.set({ upload }) });
  current.set({ upload });
  window.addEventListener("beforeunload", warn);
  await upload.run(files);
  window.removeEventListener("beforeunload", warn);
}

/** The unfinished upload to a target from before the page was loaded, with `done`; null without one. */
export async function earlier(target = null) {
  if (isActive()) return null;
  const kept = await ledger.unfinished((target ?? ownTarget()).name).catch(() => null);
  return kept && { ...kept, done: await ledger.countDone(kept.id) };
}

function ownTarget() {
  const url = urlOf("/studies");
  return { url, name: url };
}

/** Forget an unfinished upload. */
export const forget = (kept) => ledger.remove(kept.id);
