// Work on many resources, a few at a time.

/**
 * Call `work(item)` for each item, at most `parallel` at a time. `progress(number of finished items)` is called after each.
 * Returns `{ done, failed }`: items, and `{ item, error }` of those that failed. It stops early when `signal` is aborted.
 */
export async function forEach(items, work, { parallel = 4, progress = () => {}, signal } = {}) {
  const done = [];
  const failed = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length && !signal?.aborted) {
      const item = items[next];
      next += 1;
      try {
        await work(item);
        done.push(item);
      } catch (error) {
        failed.push({ item, error });
      }
      progress(done.length + failed.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, worker));
  return { done, failed };
}
