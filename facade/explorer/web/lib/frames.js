// Rendered frames, kept in memory so that scrolling and cine do not wait for the network.
import { request } from "./api.js";

const MOST_BYTES = 96_000_000;
const PARALLEL = 3;

/** A cache of rendered frames by path and parameters. Call `close` when they are not shown any more. */
export class FrameCache {
  #entries = new Map(); // url of an object in memory, its size and promise, the one used last at the end
  #bytes = 0;
  #queue = [];
  #running = 0;
  #abort = new AbortController();

  /** The URL in memory of a frame that has been loaded; undefined otherwise. */
  ready(key) {
    return this.#entries.get(key)?.url;
  }

  /** Load a frame before all others that wait; the promise has its URL in memory. */
  load(key, path, params) {
    const known = this.#entries.get(key);
    if (known) {
      this.#entries.delete(key);
      this.#entries.set(key, known);
      const at = this.#queue.findIndex((job) => job.entry === known);
      if (at > 0) this.#queue.unshift(...this.#queue.splice(at, 1));
      return known.promise;
    }
    return this.#add(key, path, params, true);
  }

  /** Load frames when nothing else waits; earlier ones that still wait are given up. */
  prefetch(frames) {
    for (const job of this.#queue.splice(0)) {
      if (job.isUrgent) this.#queue.push(job);
      else this.#entries.delete(job.key);
    }
    for (const { key, path, params } of frames) if (!this.#entries.has(key)) this.#add(key, path, params, false).catch(() => {});
  }

  /** Stop loading and free the memory. */
  close() {
    this.#abort.abort();
    this.#queue.length = 0;
    for (const entry of this.#entries.values()) if (entry.url) URL.revokeObjectURL(entry.url);
    this.#entries.clear();
    this.#bytes = 0;
  }

  #add(key, path, params, isUrgent) {
    const entry = { url: undefined, bytes: 0 };
    entry.promise = new Promise((resolve, reject) => {
      const job = { key, path, params, entry, isUrgent, resolve, reject };
      if (isUrgent) this.#queue.unshift(job);
      else this.#queue.push(job);
    });
    this.#entries.set(key, entry);
    this.#next();
    return entry.promise;
  }

  async #next() {
    if (this.#running >= PARALLEL || this.#queue.length === 0) return;
    const job = this.#queue.shift();
    this.#running += 1;
    try {
      const response = await request(job.path, { params: job.params, headers: { Accept: "image/*" }, signal: this.#abort.signal });
      const blob = await response.blob();
      if (this.#abort.signal.aborted) return;
      job.entry.url = URL.createObjectURL(blob);
      job.entry.bytes = blob.size;
      this.#bytes += blob.size;
      this.#forget(job.entry);
      job.resolve(job.entry.url);
    } catch (error) {
      if (this.#entries.get(job.key) === job.entry) this.#entries.delete(job.key);
      job.reject(error);
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }

  #forget(newest) {
    for (const [key, entry] of this.#entries) {
      if (this.#bytes <= MOST_BYTES) return;
      if (!entry.url || entry === newest) continue;
      URL.revokeObjectURL(entry.url);
      this.#bytes -= entry.bytes;
      this.#entries.delete(key);
    }
  }
}
