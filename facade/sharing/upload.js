// Stores the chosen or dropped files, some at a time, with requests of PS3.18 section 10.5 (STOW-RS).
"use strict";

const MAX_FILES = 50;
const MAX_BYTES = 64 * 1024 * 1024; // of a request; a larger file has a request of its own
const MAX_FAILURES = 100; // listed ones

const drop = document.getElementById("drop");
const progress = document.getElementById("progress");
const result = document.getElementById("result");
const failures = document.getElementById("failures");
const queue = [];
const count = { chosen: 0, stored: 0, failed: 0 };
let isRunning = false;

function nextBatch() {
  const batch = [queue.shift()];
  let size = batch[0].size;
  while (queue.length && batch.length < MAX_FILES && size + queue[0].size <= MAX_BYTES) {
    size += queue[0].size;
    batch.push(queue.shift());
  }
  return batch;
}

async function send(files) {
  const boundary = `dicomstore-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  const parts = files.flatMap((file) => [`--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`, file, "\r\n"]);
  const response = await fetch(drop.dataset.target, {
    method: "POST",
    headers: {
      "Content-Type": `multipart/related; type="application/dicom"; boundary=${boundary}`,
      Accept: "application/dicom+json",
    },
    body: new Blob([...parts, `--${boundary}--\r\n`]),
  });
  if (![200, 202, 409].includes(response.status)) {
    throw new Error(response.status === 401 ? "This link has expired or was revoked." : await response.text());
  }
  const answer = await response.json();
  const stored = answer["00081199"]?.Value?.length ?? 0;
  return { stored, failed: files.length - stored };
}

async function run() {
  if (isRunning) {
    return;
  }
  isRunning = true;
  progress.hidden = false;
  while (queue.length) {
    const files = nextBatch();
    try {
      const outcome = await send(files);
      count.stored += outcome.stored;
      count.failed += outcome.failed;
      if (outcome.failed && files.length > 1) {
        report(`${outcome.failed} of ${files.length} files, the first of which is ${files[0].name}, were not stored.`);
      } else if (outcome.failed) {
        report(`${files[0].name} was not stored. It is not a DICOM file, or is stored with other contents.`);
      }
    } catch (error) {
      count.failed += files.length;
      report(`${files[0].name}: ${error.message}`);
    }
    show();
  }
  isRunning = false;
  progress.hidden = true;
}

function report(text) {
  failures.hidden = false;
  if (failures.childElementCount < MAX_FAILURES) {
    const item = document.createElement("li");
    item.textContent = text;
    failures.append(item);
  }
}

function show() {
  progress.max = count.chosen;
  progress.value = count.stored + count.failed;
  const end = count.stored + count.failed === count.chosen ? "." : " …";
  result.textContent = `${count.stored} of ${count.chosen} files stored, ${count.failed} failed${end}`;
}

function add(file) {
  queue.push(file);
  count.chosen += 1;
}

// Directories are read in portions: an empty one is the end.
async function addEntry(entry) {
  if (entry.isFile) {
    add(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) {
      return;
    }
    for (const child of entries) {
      await addEntry(child);
    }
  }
}

for (const [button, input] of [["files", "chosen-files"], ["folder", "chosen-folder"]]) {
  const chosen = document.getElementById(input);
  document.getElementById(button).addEventListener("click", () => chosen.click());
  chosen.addEventListener("change", () => {
    [...chosen.files].forEach(add);
    chosen.value = "";
    show();
    run();
  });
}

for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragenter" || name === "dragover");
  });
}

drop.addEventListener("drop", async (event) => {
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  for (const entry of entries) {
    await addEntry(entry);
    show();
  }
  run();
});
