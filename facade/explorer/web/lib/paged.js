// A long list in the browser: pages are loaded when their rows are shown, and only some pages are kept.

/**
 * The rows of a list by their index.
 *
 * A page follows the cursor of the page before it if that is known, which takes the same time everywhere and misses no row;
 * a jump to a place further down uses an offset.
 *
 * `load(params, signal)` returns a page as `getPage` does; `params` are those of the page, with `totalcount: true` if the total
 * is needed. With `isCountedApart` it is requested apart from the rows, which do not wait for it then; until it is known,
 * `isCounted` is false, and `total` is the number of rows known to exist.
 * `changed()` is called when rows, `total` or `error` change.
 */
export class PagedList {
  #load;
  #changed;
  #pageSize;
  #keptPages;
  #pages = new Map(); // rows by number of the page, the page used last at the end
  #cursors = new Map(); // parameters of a page by its number
  #loading = new Map(); // AbortController by number of the page

  #isCountedApart;
  #counting = null; // AbortController

  constructor({ load, changed, isCountedApart = false, pageSize = 100, keptPages = 60 }) {
    this.#load = load;
    this.#changed = changed;
    this.#isCountedApart = isCountedApart;
    this.#pageSize = pageSize;
    this.#keptPages = keptPages;
    this.total = null;
    this.isCounted = false;
    this.error = null;
  }

  /** The row at an index; undefined while it is not loaded. */
  row(index) {
    return this.#pages.get(Math.floor(index / this.#pageSize))?.[index % this.#pageSize];
  }

  /** All loaded rows with their indexes, in order. */
  *loaded() {
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      for (const [at, row] of this.#pages.get(number).entries()) yield [number * this.#pageSize + at, row];
    }
  }

  /** Load the pages with the rows from `first` to `last`, and stop loading all others. */
  show(first, last) {
    const end = this.total === null ? last : Math.min(last, this.total - 1);
    const from = Math.floor(first / this.#pageSize);
    const to = Math.max(from, Math.floor(end / this.#pageSize));
    for (const [number, abort] of this.#loading) {
      if (number < from || number > to) {
        abort.abort();
        this.#loading.delete(number);
      }
    }
    for (let number = from; number <= to; number += 1) {
      const rows = this.#pages.get(number);
      if (rows) {
        this.#pages.delete(number);
        this.#pages.set(number, rows);
      } else if (!this.#loading.has(number) && !this.error) {
        this.#loadPage(number);
      }
    }
  }

  /** Load shown rows again, and the number of all; the others when they are shown again. */
  async refresh(first, last) {
    const from = Math.floor(first / this.#pageSize);
    const to = Math.max(from, Math.floor(last / this.#pageSize));
    this.error = null;
    this.#cursors.clear();
    for (const number of [...this.#pages.keys()]) if (number < from || number > to) this.#pages.delete(number);
    const again = [];
    for (let number = from; number <= to; number += 1) again.push(this.#loadPage(number));
    const counting = from > 0 || this.#isCountedApart ? this.#count() : null;
    if (!this.#isCountedApart) again.push(counting);
    await Promise.all(again);
  }

  /** Replace a row, wherever it is loaded. */
  replace(isSame, row) {
    for (const rows of this.#pages.values()) {
      const at = rows.findIndex(isSame);
      if (at >= 0) rows[at] = row;
    }
    this.#changed();
  }

  /** Stop loading. */
  stop() {
    for (const abort of this.#loading.values()) abort.abort();
    this.#loading.clear();
    this.#counting?.abort();
  }

  async #loadPage(number) {
    const abort = new AbortController();
    this.#loading.get(number)?.abort();
    this.#loading.set(number, abort);
    try {
      const place = this.#cursors.get(number) ?? { offset: number * this.#pageSize || undefined };
      const params = { ...place, limit: this.#pageSize, totalcount: number === 0 && !this.#isCountedApart ? true : undefined };
      const page = await this.#load(params, abort.signal);
      if (abort.signal.aborted) return;
      this.#pages.delete(number);
      this.#pages.set(number, page.items);
      if (page.next) this.#cursors.set(number + 1, page.next);
      this.#setTotal(number, page);
      if (this.#isCountedApart && !this.isCounted) this.#count();
      this.#forget();
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error;
    } finally {
      if (this.#loading.get(number) === abort) this.#loading.delete(number);
    }
    this.#changed();
  }

  #setTotal(number, page) {
    const known = number * this.#pageSize + page.items.length;
    const isLast = !page.next && (page.items.length > 0 || number === 0);
    if (page.total !== null || isLast) this.#counted(page.total ?? known);
    else if (this.total === null || this.total < known) this.total = known;
  }

  #counted(total) {
    this.#counting?.abort();
    this.total = total;
    this.isCounted = true;
  }

  /** Request the total; one request at a time, because counting may take long. */
  async #count() {
    if (this.#counting) return;
    const abort = new AbortController();
    this.#counting = abort;
    const page = await this.#load({ limit: 1, totalcount: true }, abort.signal).catch(() => null);
    this.#counting = null;
    if (abort.signal.aborted || !page || page.total === null) return;
    this.#counted(page.total);
    this.#changed();
  }

  #forget() {
    for (const number of this.#pages.keys()) {
      if (this.#pages.size <= this.#keptPages) return;
      this.#pages.delete(number);
    }
  }
}
