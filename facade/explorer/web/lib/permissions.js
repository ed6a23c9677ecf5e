// What the user may do: pages do not offer other actions. The archive decides again for each request.
import { DEFAULT_PARTITION, currentLocation } from "./router.js";
import { createStore } from "./store.js";

/** Grants of the user as in `/me` (docs/api.md): `{ actions, partitionName, … }` each; null if everything is permitted. */
export const grants = createStore(null);

/**
 * Whether the user may perform an action, such as "write" (docs/security.md, Roles), in the current partition or a part of it.
 * `scope`: "archive" for what belongs to the whole archive, such as webhooks; "anywhere" for lists of all partitions.
 */
export function may(action, scope = "partition") {
  if (grants.value === null) return true;
  const partition = currentLocation().partition || DEFAULT_PARTITION;
  return grants.value.some(
    (grant) =>
      grant.actions.includes(action) &&
      (!grant.partitionName || scope === "anywhere" || (scope === "partition" && grant.partitionName === partition)),
  );
}

/** Whether the user may perform the action that a page requires. */
export const mayOpen = (page) => !page.action || may(page.action, page.scope);
