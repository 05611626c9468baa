// Talks to the server; every refusal comes as an ApiError with its four parts.

export class ApiError extends Error {
  constructor(status, parts) {
    super(parts.came ? `${parts.where}: ${parts.came}. Allowed: ${parts.allowed}. ${parts.do}` : parts.do);
    this.status = status;
    this.parts = parts;
  }
}

const LOST = { do: "The server does not answer. It may have been stopped; this page goes on when it is back." };

export async function call(method, path, body, { raw = false, key } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = raw ? "application/octet-stream" : "application/json";
  if (key) headers["Idempotency-Key"] = key;
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method, headers, body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, LOST);
  }
  if (answer.status === 204) return null;
  const value = await answer.json().catch(() => ({ do: `The server answered ${answer.status}.` }));
  if (!answer.ok) throw new ApiError(answer.status, value);
  return value;
}

export const get = (path) => call("GET", path);
export const post = (path, body, options) => call("POST", path, body, options);
export const remove = (path) => call("DELETE", path);

/** Follow all jobs; returns a function that ends it. */
export function follow({ job, gone, online }) {
  const source = new EventSource("/api/v1/events");
  source.addEventListener("job", (event) => job(JSON.parse(event.data)));
  source.addEventListener("gone", (event) => gone(event.data));
  source.onopen = () => online(true);
  source.onerror = () => online(false);
  return () => source.close();
}
