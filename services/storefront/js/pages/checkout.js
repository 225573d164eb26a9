// The checkout: who, where to, how paid, then one order.

import * as cart from "../cart.js";
import { addressPart } from "../checkout/address.js";
import { cardPart } from "../checkout/card.js";
import { pending, place } from "../checkout/pending.js";
import { showSummary } from "../checkout/summary.js";
import { busy, byId, el, fill, problem } from "../dom.js";
import { alertBox, say } from "../forms.js";
import { loginForm } from "../login-form.js";
import * as session from "../session.js";
import "../shell.js";

const form = byId("order");
const who = byId("who");
const whoBody = el("div", {});
const box = alertBox();
const button = el("button", { class: "button wide", id: "place-order", type: "submit" }, "Place the order");
const progress = el("p", { class: "soft", role: "status" });
const address = addressPart(byId("address"));
const card = cardPart(byId("card"));
let lines = [];

who.append(whoBody);
byId("place").append(box, button, progress);

async function showWho() {
  const customer = session.customer();
  if (!customer) {
    whoBody.replaceChildren(loginForm(async () => {
      await showAll();
      byId("address").querySelector("input").focus();
    }));
    return;
  }
  const other = el("button", { class: "plain", type: "button", click: () => {
    session.end();
    location.reload();
  } }, "Not you?");
  whoBody.replaceChildren(el("p", {}, `${customer.displayName}, ${customer.email} `, other));
  form.hidden = false;
  await address.load();
}

/** Shows the cart's content; true if there is something to order. */
async function showCart() {
  const aside = byId("summary");
  try {
    lines = (await cart.read())?.lines ?? [];
  } catch (error) {
    problem(aside, error, showCart);
    return false;
  }
  if (lines.length > 0) {
    await showSummary(aside, lines);
    return true;
  }
  fill(aside, el("p", { class: "lead" }, "Your cart is empty."), el("a", { class: "button wide", href: "/catalogue" }, "See all socks"));
  return false;
}

async function showAll() {
  await Promise.all([showWho(), showCart()]);
  if (pending() && session.token()) await busy(button, resume);
}

async function submit() {
  say(box, "");
  if (!session.token()) {
    say(box, "Please log in first; what you typed stays.");
    who.querySelector("input")?.focus();
    return;
  }
  if (pending()) return resume();
  const known = address.complete();
  if (!card.complete() || !known) {
    form.querySelector("[aria-invalid=true]")?.focus();
    return;
  }
  if (lines.length === 0 && !(await showCart())) return say(box, "Your cart is empty.");
  progress.textContent = "Checking the card …";
  const cardToken = await card.token();
  if (!cardToken) {
    progress.textContent = "";
    return;
  }
  await address.save();
  const wanted = lines.map(({ variant, quantity }) => ({ variant, quantity }));
  await order({ ...address.read(), lines: wanted, cardToken });
}

/** Goes on with the order whose outcome a reload or a lost connection has hidden. */
async function resume() {
  form.hidden = false;
  await order(pending().order);
}

async function order(wish) {
  progress.textContent = "Placing your order …";
  try {
    const placed = await place(wish);
    location.assign(`/order?name=${encodeURIComponent(placed.name)}`);
  } catch (error) {
    progress.textContent = "";
    explain(error);
    return;
  }
  // The button stays busy until this page is gone: another click must not order again.
  await new Promise(() => {});
}

function explain(error) {
  if (error.uncertain) {
    say(box, `${error.message} We do not know yet whether your order was placed. Try again: it will be placed only once.`);
    button.textContent = "Try again";
    box.focus();
    return;
  }
  button.textContent = "Place the order";
  if (error.status === 401) {
    say(box, "Please log in again; what you typed stays.");
  } else if (card.concerns(error)) {
    card.forget(error.message);
  } else if (address.concerns(error)) {
    address.explain(error);
  } else {
    say(box, error.message);
    if (error.reason === "OUT_OF_STOCK") box.append(" ", el("a", { href: "/cart" }, "Change the cart"));
    box.focus();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(button, submit);
});
window.addEventListener("session", ({ detail }) => detail === "expired" && showWho());
// The back button may bring this page back as it was left: start anew.
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
showAll();
