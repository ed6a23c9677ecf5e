// One store request with several files (PS3.18 section 10.5). The body refers to the files: the browser reads them from the
// disk while it sends, and no file is in the memory of the page.

const OUTCOMES = "application/vnd.dicomstore.outcomes+json";
const BUSY = [408, 425, 429, 500, 502, 503, 504];
const NO_SPACE = 507;

/**
 * Why a request failed. `kind`:
 *   "again"    a temporary cause: the network, or a busy service, which may say when to try again (`afterMs`);
 *   "stop"     no further request can succeed: not logged in, not permitted, no space;
 *   "refused"  the service does not accept these files.
 */
export class UploadError extends Error {
  constructor(kind, status, message, afterMs = 0) {
    super(message);
    this.kind = kind;
    this.status = status;
    this.afterMs = afterMs;
  }
}

/**
 * Store files; returns an outcome for each, in their order: `{ outcome, reason, message, … }` (docs/api.md, Storing).
 *
 * `onProgress(bytes)` is called with the number of bytes sent so far. Raises: UploadError; AbortError after `signal`.
 */
export function send(url, files, { onProgress = () => {}, signal } = {}) {
  const boundary = `dicomstore-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  const head = `--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`;
  const body = new Blob([...files.flatMap((file) => [head, file, "\r\n"]), `--${boundary}--\r\n`]);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not report how much was sent
    const abort = () => request.abort();
    const end = (settle, value) => {
      signal?.removeEventListener("abort", abort);
      settle(value);
    };
    request.open("POST", url);
    request.setRequestHeader("Content-Type", `multipart/related; type="application/dicom"; boundary=${boundary}`);
    request.setRequestHeader("Accept", OUTCOMES);
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      try {
        end(resolve, outcomesOf(request, files.length));
      } catch (error) {
        end(reject, error);
      }
    };
    request.onerror = () => end(reject, new UploadError("again", 0, ""));
    request.onabort = () => end(reject, new DOMException("The upload was interrupted.", "AbortError"));
    if (signal?.aborted) {
      request.onabort();
      return;
    }
    signal?.addEventListener("abort", abort);
    request.send(body);
  });
}

function outcomesOf(request, expected) {
  const { status } = request;
  const text = request.responseText;
  if ((request.getResponseHeader("Content-Type") ?? "").startsWith(OUTCOMES)) {
    const outcomes = JSON.parse(text);
    if (outcomes.length === expected) return outcomes;
    throw new UploadError("again", status, "");
  }
  const reason = text.trim().slice(0, 600);
  if (BUSY.includes(status)) throw new UploadError("again", status, reason, retryAfterMs(request));
  if ([401, 403, NO_SPACE].includes(status)) throw new UploadError("stop", status, reason);
  throw new UploadError("refused", status, reason);
}

function retryAfterMs(request) {
  const seconds = Number(request.getResponseHeader("Retry-After"));
  return Number.isFinite(seconds) ? seconds * 1000 : 0;
}
