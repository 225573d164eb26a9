// The order being placed. It is kept with its request id until the shop has answered for certain, so that a
// reload, a second click or a second tab repeats the same order instead of placing another.

import { post, requestId } from "../api.js";
import * as session from "../session.js";

const KEY = "shop.order.pending";
/** For how long the API knows a request id. */
const KNOWN_FOR = 23 * 60 * 60 * 1000;

/** The order of this customer whose outcome is unknown, or null. */
export function pending() {
  const kept = session.stored(KEY);
  const mine = kept && kept.customer === session.customer()?.name && Date.now() - kept.since < KNOWN_FOR;
  return mine ? kept : null;
}

/**
 * Places an order, or repeats the pending one, and returns it. An `uncertain` error leaves it pending; so does
 * an expired login. Any other error is the shop's last word: the next order gets a new request id.
 */
export async function place(order) {
  const attempt = pending() ?? { requestId: requestId(), order, customer: session.customer()?.name, since: Date.now() };
  session.store(KEY, attempt);
  try {
    const placed = await post("/v1/orders", { requestId: attempt.requestId, order: attempt.order });
    session.store(KEY, null);
    return placed;
  } catch (error) {
    if (!error.uncertain && error.status !== 401) session.store(KEY, null);
    throw error;
  }
}
