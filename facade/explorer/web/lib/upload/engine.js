// Uploads many files, without user interface: batches of small files and single large ones in parallel requests, with
// progress, pause, back-off, and a ledger of what is done. Memory holds names, outcomes and handles, never contents.
import { send } from "./request.js";
import * as browserLedger from "./ledger.js";

const MAX_REQUESTS = 3;
const MAX_FILES = 100; // of a request
const MAX_BYTES = 16 * 1024 * 1024; // of a request with several files
const ABORTED_BYTES = 32 * 1024 * 1024; // a pause interrupts larger requests instead of waiting for their end
const HEAD_BYTES = 132;
const MAX_ATTEMPTS = 8;
const FIRST_DELAY_MS = 1000;
const MAX_DELAY_MS = 60_000;
const REPORT_MS = 250;
const RATE_MS = 15_000;
const TEMPORARY = /UNAVAILABLE|OVERLOADED|SHUTTING|TIMEOUT|DEADLINE|ABORTED|INTERRUPTED|INTERNAL|BUSY/;

/** Outcomes that a file can have. "earlier" is that of a file that was done before the page was loaded again. */
export const OUTCOMES = ["stored", "replaced", "unchanged", "earlier", "failed", "notDicom", "unreadable"];

/**
 * An upload. `state`: "running", "paused", "interrupted" (paused because of `error`), "done", "cancelled".
 *
 * `snapshot()` has counts and progress; `results` the outcome of each file so far: `{ path, size, outcome, message }`.
 * `onChange()` is called some times per second, and whenever the state changes.
 */
export class Upload {
  #sources;
  #isFound = false;
  #waiting = [];
  #running = new Set();
  #turn = Promise.resolve();
  #wake = [];
  #done = new Set();
  #reported = 0;
  #timer = null;
  #samples = [];
  #sentBytes = 0;
  #isCancelled = false;

  constructor(url, { kept = null, ledger = browserLedger, onChange = () => {}, delayMs = FIRST_DELAY_MS, maxRequests = MAX_REQUESTS } = {}) {
    this.url = url;
    this.kept = kept;
    this.ledger = ledger;
    this.onChange = onChange;
    this.delayMs = delayMs;
    this.maxRequests = maxRequests;
    this.state = "running";
    this.error = null;
    this.retryAt = 0;
    this.results = [];
    this.counts = Object.fromEntries(OUTCOMES.map((each) => [each, 0]));
    this.found = 0;
    this.openedBytes = 0;
    this.opened = 0;
    this.doneBytes = 0;
    this.started = performance.now();
  }

  /** Upload the files of a generator of sources; returns when all have an outcome. */
  async run(sources) {
    this.#sources = sources;
    if (this.kept) this.#done = await this.ledger.doneKeys(this.kept.id);
    const finding = this.#find();
    await Promise.all([finding, ...Array.from({ length: this.maxRequests }, () => this.#work())]);
    if (this.kept) await this.ledger.remove(this.kept.id);
    this.#done.clear();
    this.#set(this.#isCancelled ? "cancelled" : "done");
  }

  /** End the upload: files that are stored remain stored, the others are not sent. */
  cancel() {
    this.#isCancelled = true;
    this.#isFound = true;
    this.#waiting = [];
    this.retryAt = 0;
    for (const request of this.#running) request.abort.abort();
    this.#set("running");
    this.#wakeAll();
  }

  /** Send no further files until `resume`. */
  pause() {
    if (this.state !== "running") return;
    this.#set("paused");
    for (const request of this.#running) if (request.bytes > ABORTED_BYTES) request.abort.abort();
  }

  resume() {
    if (this.state !== "paused" && this.state !== "interrupted") return;
    this.error = null;
    this.retryAt = 0;
    this.#samples = [];
    this.#set("running");
    this.#wakeAll();
  }

  /** Counts, bytes, rate (bytes and files per second), and the remaining time in seconds; null while unknown. */
  snapshot() {
    const done = this.results.length;
    const bytes = this.doneBytes + this.#inFlight();
    const average = this.opened ? this.openedBytes / this.opened : 0;
    const totalBytes = this.openedBytes + average * (this.found - this.opened);
    const { bytesPerSecond, filesPerSecond } = this.#rate(this.#sentBytes + this.#inFlight(), done);
    const remaining =
      this.#isFound && bytesPerSecond > 0 && this.state === "running" ? Math.max(0, totalBytes - bytes) / bytesPerSecond : null;
    return {
      state: this.state,
      error: this.error,
      isFinding: !this.#isFound,
      found: this.found,
      done,
      counts: { ...this.counts },
      bytes,
      totalBytes,
      bytesPerSecond,
      filesPerSecond,
      remaining,
      fraction: this.state === "done" ? 1 : totalBytes > 0 ? Math.min(1, bytes / totalBytes) : 0,
      retryIn: Math.max(0, this.retryAt - performance.now()),
      seconds: ((this.endedAt ?? performance.now()) - this.started) / 1000,
    };
  }

  // ------------------------------------------------------------------------------------------------------------------
  // Finding files and forming batches

  async #find() {
    try {
      for await (const source of this.#sources) {
        if (this.#isCancelled) break;
        this.found += 1;
        this.#waiting.push({ ...source, attempts: 0 });
        this.#wakeAll();
        this.#report();
      }
    } catch (error) {
      this.error = error;
      this.#set("interrupted");
    }
    this.#isFound = true;
    this.#wakeAll();
  }

  /** Return the files of the next request, null at the end. One caller at a time, so that large files do not race. */
  async #next() {
    const previous = this.#turn;
    let release;
    this.#turn = new Promise((resolve) => {
      release = resolve;
    });
    await previous;
    try {
      for (;;) {
        const delay = this.retryAt - performance.now();
        if (this.state === "running" && this.#waiting.length > 0 && delay > 0) {
          await new Promise((resolve) => setTimeout(resolve, Math.min(delay, 1000)));
          this.#report();
        } else if (this.state === "running" && this.#waiting.length > 0) {
          const batch = await this.#batch();
          if (batch.length > 0) return batch;
        } else if (this.#isFound && this.#waiting.length === 0 && this.#running.size === 0) {
          this.#wakeAll();
          return null;
        } else {
          await new Promise((resolve) => this.#wake.push(resolve));
        }
      }
    } finally {
      release();
    }
  }

  async #batch() {
    const batch = [];
    let bytes = 0;
    while (this.#waiting.length > 0 && batch.length < MAX_FILES && this.state === "running") {
      const some = this.#waiting.splice(0, Math.min(16, MAX_FILES - batch.length));
      const prepared = await Promise.all(some.map((source) => this.#prepared(source)));
      const ready = prepared.filter(Boolean);
      while (ready.length > 0) {
        const item = ready[0];
        if (batch.length > 0 && bytes + item.file.size > MAX_BYTES) {
          this.#waiting.unshift(...ready);
          return batch;
        }
        batch.push(ready.shift());
        bytes += item.file.size;
      }
    }
    return batch;
  }

  /** Return the source with its `file` and `key`; null if it has an outcome without being sent. */
  async #prepared(source) {
    if (source.file) return source;
    let file;
    let isDicom;
    try {
      file = await source.open();
      isDicom = isPart10(new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer()));
    } catch {
      this.opened += 1;
      this.#add(source, 0, "unreadable");
      return null;
    }
    this.opened += 1;
    this.openedBytes += file.size;
    const key = this.kept ? await this.ledger.keyOf(this.kept, source.path, file) : "";
    if (this.#done.has(key)) {
      this.#add(source, file.size, "earlier");
      return null;
    }
    if (!isDicom) {
      this.#add(source, file.size, "notDicom");
      return null;
    }
    return { ...source, file, key };
  }

  // ------------------------------------------------------------------------------------------------------------------
  // Requests

  async #work() {
    for (;;) {
      const batch = await this.#next();
      if (batch === null) return;
      await this.#send(batch);
      this.#wakeAll();
    }
  }

  async #send(batch) {
    const bytes = batch.reduce((sum, item) => sum + item.file.size, 0);
    const request = { bytes, sent: 0, abort: new AbortController() };
    this.#running.add(request);
    try {
      const outcomes = await send(
        this.url,
        batch.map((item) => item.file),
        {
          signal: request.abort.signal,
          onProgress: (sent) => {
            request.sent = Math.min(sent, bytes);
            this.#report();
          },
        },
      );
      this.#running.delete(request);
      await this.#settle(batch, outcomes);
    } catch (error) {
      this.#running.delete(request);
      await this.#failed(batch, error);
    }
  }

  async #settle(batch, outcomes) {
    const done = [];
    const again = [];
    batch.forEach((item, index) => {
      const { outcome, reason = "", message = "", identical = false } = outcomes[index];
      if (outcome === "failed" && identical) {
        this.#add(item, item.file.size, "unchanged");
      } else if (outcome === "failed" && TEMPORARY.test(reason) && item.attempts + 1 < MAX_ATTEMPTS) {
        again.push({ ...item, attempts: item.attempts + 1 });
        return;
      } else {
        this.#add(item, item.file.size, outcome, message);
      }
      if (outcome !== "failed" || identical) done.push(item.key);
    });
    if (this.kept && done.length > 0) await this.ledger.recordDone(this.kept.id, done).catch(() => {});
    if (again.length > 0) {
      this.#waiting.push(...again);
      this.#delay(again[0].attempts, 0);
    }
  }

  async #failed(batch, error) {
    if (error.name === "AbortError") {
      if (!this.#isCancelled) this.#waiting.unshift(...batch);
      return;
    }
    if (error.kind === "refused") {
      // The service accepts no file of the request; one at a time each gets its own reason.
      if (batch.length === 1) this.#add(batch[0], batch[0].file.size, "failed", error.message);
      else for (const item of batch) await this.#send([item]);
      return;
    }
    const readable = await this.#readable(batch);
    if (readable.length === 0) return;
    const attempts = Math.max(...readable.map((item) => item.attempts)) + 1;
    this.#waiting.unshift(...readable.map((item) => ({ ...item, attempts })));
    if (error.kind === "stop" || attempts >= MAX_ATTEMPTS) {
      for (const item of this.#waiting) item.attempts = 0;
      if (this.state === "running") {
        this.error = error;
        this.#set("interrupted");
      }
      return;
    }
    this.#delay(attempts, error.afterMs ?? 0);
  }

  /** Return the files that can still be read: a file that was changed or removed fails like the network. */
  async #readable(batch) {
    const checked = await Promise.all(
      batch.map((item) =>
        item.file.slice(0, 1).arrayBuffer().then(
          () => item,
          () => {
            this.#add(item, item.file.size, "unreadable");
            return null;
          },
        ),
      ),
    );
    return checked.filter(Boolean);
  }

  /** Let all requests wait: longer after each failed attempt, and as long as the service says. */
  #delay(attempts, afterMs) {
    const backOff = Math.min(MAX_DELAY_MS, this.delayMs * 2 ** (attempts - 1)) * (0.5 + Math.random() / 2);
    const delay = Math.max(backOff, afterMs);
    this.retryAt = Math.max(this.retryAt, performance.now() + delay);
    this.#report();
  }

  // ------------------------------------------------------------------------------------------------------------------
  // Results and reports

  #add({ path }, size, outcome, message = "") {
    this.results.push({ path, size, outcome, message });
    this.counts[outcome] += 1;
    this.doneBytes += size;
    if (outcome !== "earlier" && outcome !== "notDicom") this.#sentBytes += size;
    this.#report();
  }

  #inFlight() {
    let bytes = 0;
    for (const request of this.#running) bytes += request.sent;
    return bytes;
  }

  #rate(bytes, files) {
    if (this.endedAt) {
      const seconds = Math.max(0.001, (this.endedAt - this.started) / 1000);
      return { bytesPerSecond: this.#sentBytes / seconds, filesPerSecond: files / seconds };
    }
    const now = performance.now();
    this.#samples.push({ now, bytes, files });
    while (this.#samples.length > 2 && now - this.#samples[0].now > RATE_MS) this.#samples.shift();
    const [first] = this.#samples;
    const seconds = (now - first.now) / 1000;
    if (seconds < 0.5) return { bytesPerSecond: 0, filesPerSecond: 0 };
    return { bytesPerSecond: Math.max(0, bytes - first.bytes) / seconds, filesPerSecond: Math.max(0, files - first.files) / seconds };
  }

  #set(state) {
    this.state = state;
    if (state === "done" || state === "cancelled") this.endedAt = performance.now();
    this.#report(true);
  }

  #report(isNow = false) {
    if (isNow || performance.now() - this.#reported >= REPORT_MS) {
      clearTimeout(this.#timer);
      this.#timer = null;
      this.#reported = performance.now();
      this.onChange();
    } else {
      this.#timer ??= setTimeout(() => this.#report(true), REPORT_MS);
    }
  }

  #wakeAll() {
    for (const resolve of this.#wake.splice(0)) resolve();
  }
}

/**
 * Whether a file is DICOM by its first bytes: the prefix after the preamble (PS3.10 section 7.1), or a data set that begins
 * with an element of group 0002 or 0008, which the archive may understand.
 */
export function isPart10(head) {
  if (head.length >= HEAD_BYTES && String.fromCharCode(...head.subarray(128, 132)) === "DICM") return true;
  return head.length >= 8 && (head[0] === 2 || head[0] === 8) && head[1] === 0 && head[3] === 0;
}
