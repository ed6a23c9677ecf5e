// Client of the public API of the archive (docs/api.md), with the session of the browser.
import { currentLocation, queryOf } from "./router.js";
import { ROOT, logIn } from "./session.js";
import { t } from "./texts.js";

const MAX_REASON = 600;
const UNAVAILABLE = [502, 503, 504];

/** A refused or failed request. `status` is 0 without a response; `message` is for people and has the reason. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Return the URL of a resource: `path` begins after "/v2" and the partition, as in "/studies/1.2.3".
 *
 * Resources of the whole archive (`isService`), such as "/operations/…", have no partition.
 */
export function urlOf(path, params = {}, { isService = false } = {}) {
  const { partition } = currentLocation();
  const prefix = partition && !isService ? `/partitions/${encodeURIComponent(partition)}` : "";
  const query = queryOf(params);
  return new URL(`v2${prefix}${path}${query && `?${query}`}`, ROOT).href;
}

/**
 * Send a request and return its response, which is a success.
 *
 * Options: `method`, `params`, `json` (the body as a value) or `body`, `headers`, `signal`, `isService`, and `accepted`:
 * other statuses that are no errors, such as 404. Raises: ApiError, AbortError.
 */
export async function request(path, { method = "GET", params, json, body, headers = {}, signal, isService, accepted = [] } = {}) {
  const init = { method, signal, headers: { Accept: "application/json", ...headers } };
  if (json !== undefined) {
    init.body = JSON.stringify(json);
    init.headers["Content-Type"] = "application/json";
  } else if (body !== undefined) {
    init.body = body;
  }
  let response;
  try {
    response = await fetch(urlOf(path, params, { isService }), init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, t("error.network"));
  }
  if (response.ok || accepted.includes(response.status)) return response;
  throw await errorOf(response);
}

/** Return the ApiError of a response. Without a session, the login page is opened. */
export async function errorOf(response) {
  if (response.status === 401 && logIn()) return new ApiError(401, t("error.login"));
  const reason = (await response.text().catch(() => "")).trim().slice(0, MAX_REASON);
  if (response.status === 401) return new ApiError(401, t("error.unauthenticated"));
  if (response.status === 403) return new ApiError(403, reason || t("error.forbidden"));
  if (UNAVAILABLE.includes(response.status)) return new ApiError(response.status, reason || t("error.unavailable"));
  return new ApiError(response.status, reason || t("error.status", { status: String(response.status) }));
}

/** Return the body of a JSON resource; null for 204. The options are those of `request`. */
export async function getJson(path, options) {
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

/** Send JSON (POST by default) and return the body of the response, null if it has none. */
export async function sendJson(path, json, options = {}) {
  const response = await request(path, { method: "POST", ...options, json });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * Return one page of a list: `items`, `next` (parameters of the next page, null on the last one), and `total` if it was
 * requested with `totalcount`. For searches and all lists with a `Link` header.
 */
export async function getPage(path, options = {}) {
  const headers = path.match(/\/(studies|series|instances)$/) ? { Accept: "application/dicom+json" } : {};
  const response = await request(path, { ...options, headers: { ...headers, ...options.headers } });
  const items = response.status === 204 ? [] : await response.json();
  const total = response.headers.get("X-Total-Count");
  return { items, next: nextOf(response.headers.get("Link")), total: total === null ? null : Number(total), response };
}

/** Return the parameters of the next page in a Link header (RFC 8288); null if there is none. */
export function nextOf(header) {
  const found = /<([^>]+)>\s*;\s*rel="?next"?/.exec(header ?? "");
  if (!found) return null;
  const params = {};
  for (const [name, value] of new URL(found[1], ROOT).searchParams) (params[name] ??= []).push(value);
  return params;
}
