// The cart: a guest's by its unguessable name, a customer's as `carts/mine`. Whenever a cart comes back
// from the API, the `cart` event of `window` tells how many pairs it holds.

import { ApiError, get, patch, post, remove } from "./api.js";
import * as session from "./session.js";

const GUEST = "shop.cart";
const COUNT = "shop.cart.count";
const MINE = "carts/mine";

const name = () => (session.token() ? MINE : session.stored(GUEST));

/** The number of pairs when the cart was last seen. */
export const lastCount = () => session.stored(COUNT) ?? 0;

/** The cart as it is, or null if there is none yet. */
export async function read() {
  const cart = name();
  if (!cart) return seen(null);
  try {
    return seen(await get(`/v1/${cart}`));
  } catch (error) {
    if (error.reason !== "CART_NOT_FOUND" || cart === MINE) throw error;
    session.store(GUEST, null);
    return seen(null);
  }
}

/** Adds units of a variant. Repeat it with the same `id` if the outcome of the first try is unknown. */
export async function add(variant, quantity, id) {
  for (let attempt = 1; ; attempt += 1) {
    const cart = name() ?? (await create());
    try {
      return seen(await post(`/v1/${cart}/lines`, { requestId: id, variant, quantity }));
    } catch (error) {
      const gone = error.reason === "CART_NOT_FOUND" && cart !== MINE;
      const loggedOut = error.status === 401 && cart === MINE;
      if (attempt > 1 || !(gone || loggedOut)) throw error;
      if (gone) session.store(GUEST, null);
    }
  }
}

export const change = async (line, quantity) => seen(await patch(`/v1/${line.name}`, { quantity }));
export const drop = async (line) => seen(await remove(`/v1/${line.name}`));

/** Moves what a guest collected into the customer's cart; safe to repeat. */
export async function merge() {
  const guest = session.stored(GUEST);
  if (!guest || !session.token()) return;
  try {
    seen(await post(`/v1/${guest}:merge`));
  } catch (error) {
    // Kept for the next page, unless there is nothing to merge any more.
    if (!(error instanceof ApiError) || error.reason !== "CART_NOT_FOUND") return;
  }
  session.store(GUEST, null);
}

/** Forgets the count of a customer who has gone. */
export const forget = () => seen(null);

async function create() {
  const cart = await post("/v1/carts");
  session.store(GUEST, cart.name);
  return cart.name;
}

function seen(cart) {
  const count = (cart?.lines ?? []).reduce((sum, line) => sum + line.quantity, 0);
  session.store(COUNT, count);
  window.dispatchEvent(new CustomEvent("cart", { detail: count }));
  return cart;
}

