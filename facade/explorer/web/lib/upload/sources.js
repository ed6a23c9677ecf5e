// Files that users choose or drop. A source is `{ path, open }`: `open()` returns the File when it is needed, so that a
// folder with many files costs little memory and nothing is read before it is sent.

const PAUSE_MS = 12;

/** Files of an `<input type="file">`, also with `webkitdirectory`. */
export async function* fromFiles(files) {
  const rest = pacer();
  for (const file of files) {
    yield { path: file.webkitRelativePath || file.name, open: async () => file };
    await rest();
  }
}

/** Files of a FileSystemFileHandle or FileSystemDirectoryHandle, at any depth. */
export async function* fromHandle(handle, path = handle.name, rest = pacer()) {
  if (handle.kind === "file") {
    yield { path, open: () => handle.getFile() };
    await rest();
    return;
  }
  for await (const child of handle.values()) yield* fromHandle(child, `${path}/${child.name}`, rest);
}

/** Files of a FileSystemEntry, at any depth: what browsers without handles give for dropped files. */
export async function* fromEntry(entry, rest = pacer()) {
  if (entry.isFile) {
    yield {
      path: entry.fullPath.replace(/^\//, ""),
      open: () => new Promise((resolve, reject) => entry.file(resolve, reject)),
    };
    await rest();
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // Browsers return the files of a directory in portions; an empty one is the end.
    const children = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (children.length === 0) return;
    for (const child of children) yield* fromEntry(child, rest);
  }
}

/**
 * What was dropped: `handles` if the browser has them (they can be kept for a later continuation), and `files`, a
 * generator. Must be called during the event, because the browser empties the data afterwards.
 */
export async function fromDrop(dataTransfer) {
  const items = [...dataTransfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const asked = items.map((item) => item.getAsFileSystemHandle?.() ?? null);
  const handles = (await Promise.all(asked.map((each) => Promise.resolve(each).catch(() => null)))).filter(Boolean);
  const hasHandles = handles.length === items.length;
  return { handles: hasHandles ? handles : [], files: hasHandles ? joined(handles, fromHandle) : joined(entries.filter(Boolean), fromAny) };
}

/** Files of several handles. */
export const fromHandles = (handles) => joined(handles, fromHandle);

const fromAny = (entry) => (entry instanceof File ? fromFiles([entry]) : fromEntry(entry));

async function* joined(roots, read) {
  for (const root of roots) yield* read(root);
}

/** Return a function to await after each file: it lets the page react whenever some milliseconds have passed. */
function pacer() {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < PAUSE_MS) return;
    await new Promise((resolve) => setTimeout(resolve));
    since = performance.now();
  };
}
