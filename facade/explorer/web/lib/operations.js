// Operations: work that continues in the archive (docs/api.md, Operations).
import { getJson } from "./api.js";

const FIRST_MS = 500;
const LONGEST_MS = 5000;
const FINISHED = ["succeeded", "failed", "canceled"];

/** Whether an operation has ended. */
export const isFinished = (operation) => FINISHED.includes(operation.status);

/** Return an operation when it has ended. `progress(operation)` is called whenever its state was read. */
export async function finished(id, { progress = () => {}, signal } = {}) {
  for (let pause = FIRST_MS; ; pause = Math.min(LONGEST_MS, pause * 1.5)) {
    const operation = await getJson(`/operations/${id}`, { isService: true, signal });
    progress(operation);
    if (isFinished(operation)) return operation;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
