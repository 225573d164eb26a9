// The states of an order in the customer's words.

/** The way to a paid order, in order. */
export const STEPS = [
  ["ORDER_STATE_PENDING", "Placed"],
  ["ORDER_STATE_RESERVED", "Socks put aside"],
  ["ORDER_STATE_AUTHORIZED", "Card accepted"],
  ["ORDER_STATE_CONFIRMED", "Socks packed"],
  ["ORDER_STATE_PAID", "Paid"],
];

/** After these, nothing more happens. */
export const FINAL = new Set(["ORDER_STATE_PAID", "ORDER_STATE_REJECTED"]);

const REJECTED = {
  OUT_OF_STOCK: "Not enough pairs were left. Nothing was charged.",
  CARD_DECLINED: "The card was declined. Nothing was charged.",
  CARD_TOKEN_NOT_FOUND: "The card was not known any more. Nothing was charged.",
  CARD_TOKEN_EXPIRED: "The card was entered too long ago. Nothing was charged.",
  PAYMENT_TIMED_OUT: "The bank did not answer in time. Nothing was charged.",
};

/** How an order stands, as a sentence. */
export function stateText({ state, rejectionReason }) {
  if (state === "ORDER_STATE_PAID") return "Paid. Your socks are on their way.";
  if (state === "ORDER_STATE_REJECTED") return REJECTED[rejectionReason] ?? "The order was called off. Nothing was charged.";
  if (state === "ORDER_STATE_COMPENSATING") return "Something went wrong; we are giving everything back.";
  return "We are working on it.";
}

/** The state in a word or two, for lists. */
export function stateWord(state) {
  return { ORDER_STATE_PAID: "Paid", ORDER_STATE_REJECTED: "Called off", ORDER_STATE_COMPENSATING: "Being called off" }[state]
    ?? "In progress";
}

/** The number people can read out: the last eight characters of the name. */
export const short = (name) => name.slice(-8).toUpperCase();
