// The session and its calls. A token lives in this tab alone: sessionStorage goes with it.

const PLACE = "embedgate";

/** {token, role: "operator" | "tenant", tenantKey?} or null. */
export const session = {
  read() {
    try {
      return JSON.parse(sessionStorage.getItem(PLACE));
    } catch {
      return null;
    }
  },
  write(value) {
    sessionStorage.setItem(PLACE, JSON.stringify(value));
  },
  end() {
    sessionStorage.removeItem(PLACE);
  },
};

/** An answer that is not a success, with what the service said of it. */
export class Refused extends Error {
  constructor(status, error, headers) {
    super(error?.message ?? `The service answered ${status}.`);
    this.status = status;
    this.code = error?.code ?? "";
    this.requestId = headers.get("x-request-id") ?? "";
    this.retryAfter = headers.get("retry-after");
  }
}

/** A response, or Refused. `path` begins at the service's root; bodies are sent as JSON unless they are form data. */
export async function request(path, { method = "GET", body, token, headers = {}, signal } = {}) {
  const sent = { authorization: `Bearer ${token ?? session.read()?.token ?? ""}`, ...headers };
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) sent["content-type"] = "application/json";
  const content = body === undefined || isForm ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, headers: sent, body: content, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service cannot be reached.");
  }
  if (!response.ok) {
    let error = null;
    try {
      error = (await response.json()).error;
    } catch {
      // Not the service itself answered, and the status is all that is known.
    }
    throw new Refused(response.status, error, response.headers);
  }
  return response;
}

/** What a request answered, as an object. */
export async function call(path, options) {
  return (await request(path, options)).json();
}

/** A path with its query; what is empty is left out. */
export function withQuery(path, query) {
  const known = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return known.length ? `${path}?${new URLSearchParams(known)}` : path;
}

/** Headers that tell the journal who changes something, and why. */
export function author(reason) {
  return { "x-actor": "console", "x-reason": encodeURIComponent(reason || "") };
}
