// Calls the edge's REST API and turns its errors (google.rpc.Status) into `ApiError`.

import * as session from "./session.js";

// The gRPC code of a call that met another one at work on the same thing.
const ABORTED = 10;
const UNREACHABLE = "The shop cannot be reached. Check your connection and try again.";

// What a reason means to a customer. Any other error shows the message the API sent.
const HUMAN = {
  OUT_OF_STOCK: "There are not enough pairs left of something in your order. Nothing was charged.",
  CARD_DECLINED: "The card was declined. Nothing was charged; please try another card.",
  CARD_TOKEN_EXPIRED: "The card details were entered too long ago. Please enter them again.",
  CARD_TOKEN_NOT_FOUND: "The card details are no longer known. Please enter them again.",
  PAYMENT_TIMED_OUT: "The bank did not answer in time. Nothing was charged; please try again.",
  CARD_NUMBER_INVALID: "This is not a valid card number.",
  CARD_EXPIRED: "This card has expired.",
  WRONG_CREDENTIALS: "E-mail or password is wrong.",
  TOO_MANY_ATTEMPTS: "Too many attempts. Please wait a minute and try again.",
  EMAIL_TAKEN: "There is already an account with this e-mail. Log in instead?",
  CART_FULL: "The cart cannot hold that many.",
  VARIANT_NOT_FOUND: "Something in your cart is no longer sold.",
  PRODUCT_NOT_FOUND: "This sock does not exist.",
  ORDER_NOT_FOUND: "There is no such order in your account.",
  ADDRESS_BOOK_FULL: "Your address book is full. Remove an address first.",
};

/** An answer of the API that is not a success, or none at all (`status` 0). */
export class ApiError extends Error {
  constructor(status, body = {}) {
    const details = Array.isArray(body.details) ? body.details : [];
    const detail = (name) => details.find((each) => String(each["@type"]).endsWith(`google.rpc.${name}`));
    const info = detail("ErrorInfo") ?? {};
    super(HUMAN[info.reason] ?? sentence(status, body.message));
    this.status = status;
    this.code = body.code ?? 0;
    this.reason = info.reason ?? "";
    this.metadata = info.metadata ?? {};
    this.violations = detail("BadRequest")?.fieldViolations ?? [];
  }

  /** Whether the call may have done its work although it failed, and can be repeated. */
  get uncertain() {
    return this.code === ABORTED || [0, 408, 429].includes(this.status) || this.status >= 500;
  }
}

/** A message of the API as a sentence; what broke inside the shop means nothing to a customer. */
function sentence(status, message) {
  if (status === 0) return UNREACHABLE;
  if (status >= 500) return "The shop is having trouble answering. Please try again in a moment.";
  if (!message) return `Something went wrong (${status}). Please try again.`;
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Reads a resource; repeated twice if the shop is briefly unavailable. */
export async function get(path, { query, signal } = {}) {
  const url = query ? `${path}?${parameters(query)}` : path;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send("GET", url, undefined, signal);
    } catch (error) {
      const again = error instanceof ApiError && [0, 502, 503, 504].includes(error.status);
      if (!again || attempt === 3) throw error;
      await pause(250 * attempt);
    }
  }
}

export const post = (path, body = {}) => send("POST", path, body);
export const patch = (path, body) => send("PATCH", path, body);
export const put = (path, body) => send("PUT", path, body);
export const remove = (path) => send("DELETE", path);

/** The answer to a request, with the token if there is one; throws `ApiError`. */
export async function request(method, url, { body, signal, accept = "application/json" } = {}) {
  const headers = { accept };
  const token = session.token();
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(url, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  if (response.ok) return response;
  const error = new ApiError(response.status, await response.json().catch(() => ({})));
  if (error.status === 401 && token && error.reason !== "WRONG_CREDENTIALS") session.expire();
  throw error;
}

async function send(method, url, body, signal) {
  const response = await request(method, url, { body, signal });
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
}

function parameters(query) {
  const out = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) if (each !== undefined && each !== "") out.append(name, each);
  }
  return out;
}

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** A new id for a call that must have its effect once, however often it is sent. */
export function requestId() {
  // `randomUUID` is missing where the page came over plain HTTP from another host.
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
