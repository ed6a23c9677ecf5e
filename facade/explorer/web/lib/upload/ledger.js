// What is kept in this browser about an unfinished upload, so that it can continue after a reload: the handles of the chosen
// folders if the browser has them, and which files are done. Names of files may contain patient data, so only digests
// of path, size and time are kept, with a random salt, and all is removed when the upload has ended.

const NAME = "dicomstore-uploads";
const UPLOADS = "uploads";
const DONE = "done";
const KEPT_MS = 7 * 24 * 3600 * 1000;

/** Whether this browser can keep uploads: over HTTPS, and on the own machine. */
export const canKeep = () => Boolean(globalThis.indexedDB && globalThis.crypto?.subtle);

let opening = null;

function opened() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(UPLOADS, { keyPath: "id" });
      request.result.createObjectStore(DONE, { keyPath: ["upload", "key"] });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

const result = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const ended = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });

const rangeOf = (id) => IDBKeyRange.bound([id, ""], [id, "\uffff"]);

/** The unfinished upload to a URL: `{ id, url, handles, started }`; null without one. Old ones are removed. */
export async function unfinished(url) {
  if (!canKeep()) return null;
  const database = await opened();
  const all = await result(database.transaction(UPLOADS).objectStore(UPLOADS).getAll());
  let found = null;
  for (const each of all) {
    if (Date.now() - each.started > KEPT_MS) await remove(each.id);
    else if (each.url === url) found = each;
  }
  return found;
}

/** Record the beginning of an upload; it replaces one to the same URL. Handles of folders are kept with it. */
export async function begin(url, handles) {
  const previous = await unfinished(url);
  if (previous) await remove(previous.id);
  const upload = { id: crypto.randomUUID(), salt: crypto.randomUUID(), url, handles, started: Date.now() };
  const transaction = (await opened()).transaction(UPLOADS, "readwrite");
  transaction.objectStore(UPLOADS).put(upload);
  await ended(transaction);
  return upload;
}

/** Forget an upload. */
export async function remove(id) {
  const transaction = (await opened()).transaction([UPLOADS, DONE], "readwrite");
  transaction.objectStore(UPLOADS).delete(id);
  transaction.objectStore(DONE).delete(rangeOf(id));
  await ended(transaction);
}

/** How many files of an upload are done. */
export async function countDone(id) {
  return result((await opened()).transaction(DONE).objectStore(DONE).count(rangeOf(id)));
}

/** The keys of the files of an upload that are done, a Set. */
export async function doneKeys(id) {
  const keys = await result((await opened()).transaction(DONE).objectStore(DONE).getAllKeys(rangeOf(id)));
  return new Set(keys.map(([, key]) => key));
}

/** Record files as done. */
export async function recordDone(id, keys) {
  const transaction = (await opened()).transaction(DONE, "readwrite");
  for (const key of keys) transaction.objectStore(DONE).put({ upload: id, key });
  await ended(transaction);
}

/** The key of a file of an upload: a digest of its path, size and time of modification. */
export async function keyOf(upload, path, file) {
  const text = JSON.stringify([upload.salt, path, file.size, file.lastModified]);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)), 0, 16);
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
