// One order and how far it has come, live.

import { oneLine } from "../address-form.js";
import { get } from "../api.js";
import * as cart from "../cart.js";
import { byId, date, el, fill, problem } from "../dom.js";
import { loginForm } from "../login-form.js";
import { cents, format, shown } from "../money.js";
import { FINAL, STEPS, stateText, short } from "../order-state.js";
import { picture, productOf, productPage } from "../product-card.js";
import * as session from "../session.js";
import "../shell.js";
import { follow } from "../watch.js";

const box = byId("order");
const said = byId("said");
const name = new URLSearchParams(location.search).get("name") ?? "";
const known = /^orders\/[a-z0-9-]{1,63}$/.test(name);
const leaving = new AbortController();
let lastState = "";
let live = null;

const isLast = ({ state }) => FINAL.has(state);

async function start() {
  if (!known) return missing();
  if (!session.token()) return askToLogIn();
  try {
    const order = await get(`/v1/${name}`);
    show(order);
    if (isLast(order)) return;
    await follow(`/v1/${name}:watch`, { onMessage: show, onLink: showLink, isLast, signal: leaving.signal });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) askToLogIn();
    else if (error.status === 404) missing();
    else problem(box, error, start);
  }
}

function askToLogIn() {
  fill(box, el("section", { class: "panel narrow" },
    el("h2", {}, "Log in to see this order"), loginForm(start)));
}

function missing() {
  fill(box, el("div", { class: "empty" },
    el("p", { class: "lead" }, "There is no such order in your account."),
    el("a", { class: "button", href: "/account" }, "All my orders")));
}

function showLink(open) {
  if (!live) return;
  live.textContent = open ? "Live" : "Connecting again …";
  live.classList.toggle("off", !open);
}

function show(order) {
  const final = isLast(order);
  if (order.state !== lastState) {
    said.textContent = stateText(order);
    lastState = order.state;
    // What was ordered leaves the cart.
    if (final) cart.read().catch(() => null);
  }
  live = final ? null : el("span", { class: "live" }, "Live");
  fill(box, el("div", { class: "split" },
    el("section", { class: `panel status ${order.state === "ORDER_STATE_REJECTED" ? "bad" : ""}`, "aria-label": "Status" },
      el("p", { class: "row" }, el("span", { class: "soft" }, `No. ${short(order.name)} · `, order.createTime && date(order.createTime)), live),
      el("h2", { id: "state", "data-state": order.state }, stateText(order)),
      timeline(order),
      el("p", { class: "soft" }, "Goes to ", oneLine(order.shippingAddress ?? {}), ". News goes to ", order.email, "."),
      order.state === "ORDER_STATE_REJECTED" && el("a", { class: "button", href: "/checkout" }, "Try again")),
    el("aside", { class: "panel summary", "aria-label": "What you ordered" },
      el("h2", {}, "Your socks"),
      el("ul", { class: "small-lines" }, (order.lines ?? []).map(line)),
      el("p", { class: "row total" }, el("span", {}, "Total"), el("strong", {}, shown(order.total))))));
}

function timeline({ state, history = [] }) {
  const times = new Map(history.map((change) => [change.state, change.time]));
  const failed = state === "ORDER_STATE_REJECTED" || state === "ORDER_STATE_COMPENSATING";
  const steps = STEPS.filter(([step]) => !failed || times.has(step));
  if (failed) steps.push(["ORDER_STATE_COMPENSATING", "Giving everything back"], ["ORDER_STATE_REJECTED", "Called off"]);
  return el("ol", { class: "timeline" }, steps.map(([step, text]) => {
    const time = times.get(step);
    return el("li", { class: time ? "done" : "", "aria-current": step === state ? "step" : null },
      el("span", {}, text), time && el("span", { class: "soft" }, date(time, { timeStyle: "medium" })));
  }));
}

function line({ variant, title, quantity, unitPrice }) {
  const product = productOf(variant);
  return el("li", {},
    el("span", { class: "frame" }, picture(product, 56)),
    el("span", {}, el("a", { href: productPage(product) }, title), el("span", { class: "soft" }, `× ${quantity}`)),
    el("span", { class: "price" }, format(cents(unitPrice) * quantity, unitPrice?.currencyCode)));
}

window.addEventListener("pagehide", () => leaving.abort());
start();
