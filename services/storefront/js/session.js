// Who is logged in on this browser. Others hear of changes by the `session` event of `window`.

const KEY = "shop.session";

/** `{token, expires, customer}` or null. */
export function current() {
  const session = stored(KEY);
  if (!session) return null;
  if (Date.parse(session.expires) <= Date.now()) {
    expire();
    return null;
  }
  return session;
}

export const token = () => current()?.token ?? null;
export const customer = () => current()?.customer ?? null;

/** Keeps the answer of `POST /v1/sessions`. */
export function begin({ accessToken, expireTime, customer }) {
  store(KEY, { token: accessToken, expires: expireTime, customer });
  announce("begun");
}

/** Logs out on purpose. */
export function end() {
  store(KEY, null);
  announce("ended");
}

/** Forgets a token that is no longer accepted. */
export function expire() {
  store(KEY, null);
  announce("expired");
}

function announce(what) {
  // Later, so that no listener runs in the middle of whoever caused it.
  queueMicrotask(() => window.dispatchEvent(new CustomEvent("session", { detail: what })));
}

/** What was kept under a key, or null. */
export function stored(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Keeps a value under a key; null removes it. */
export function store(key, value) {
  if (value === null) localStorage.removeItem(key);
  else localStorage.setItem(key, JSON.stringify(value));
}
