// The cart: change or remove lines, then on to the checkout.

import { get } from "../api.js";
import * as cart from "../cart.js";
import { byId, el, fill, pairs, problem } from "../dom.js";
import { cents, format, shown } from "../money.js";
import { picture, productOf, productPage } from "../product-card.js";
import * as session from "../session.js";
import { loginHere } from "../shell.js";

const MOST = 999;
const TYPING_PAUSE = 400;
const box = byId("cart");
const said = byId("said");

async function load() {
  try {
    show(await cart.read());
  } catch (error) {
    if (error.status === 401) show(null);
    else problem(box, error, load);
  }
}

function show(content) {
  const lines = content?.lines ?? [];
  if (lines.length === 0) return empty();
  const total = el("strong", { id: "total" }, shown(content.total));
  const list = el("ul", { class: "lines" }, lines.map((line) => row(line)));
  fill(box, el("div", { class: "split" },
    list,
    el("aside", { class: "panel summary", "aria-label": "Sum" },
      el("p", { class: "row" }, el("span", {}, "Total"), total),
      el("p", { class: "soft" }, "Shipping is on us."),
      el("a", { class: "button wide", id: "checkout", href: "/checkout" }, "Checkout"),
      el("a", { class: "quiet-link", href: "/catalogue" }, "Keep looking"))));
  warnAboutStock(lines);
}

function empty() {
  fill(box, el("div", { class: "empty" },
    el("p", { class: "lead" }, "Nothing in here yet. Cold feet?"),
    el("p", { class: "actions" },
      el("a", { class: "button", href: "/catalogue" }, "See all socks"),
      !session.token() && el("a", { class: "button quiet", href: loginHere() }, "Log in to see your saved cart"))));
}

function row(line) {
  const sum = el("span", { class: "price" }, format(cents(line.unitPrice) * line.quantity, line.unitPrice?.currencyCode));
  const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
  const warning = el("p", { class: "stock few", hidden: true });
  const input = el("input", {
    type: "number", min: "1", max: String(MOST), value: String(line.quantity), inputmode: "numeric",
    "aria-label": `Pairs of ${line.title}, ${line.detail}`,
  });
  const item = el("li", { class: "line", "data-variant": line.variant },
    el("a", { class: "frame", href: productPage(productOf(line.variant)), tabindex: "-1", "aria-hidden": "true" },
      picture(productOf(line.variant), 120)),
    el("div", { class: "line-text" },
      el("a", { class: "line-title", href: productPage(productOf(line.variant)) }, line.title),
      el("span", { class: "soft" }, `${line.detail} · ${shown(line.unitPrice)}`),
      warning, wrong),
    el("div", { class: "stepper" },
      step("−", `One pair of ${line.title} less`, -1), input, step("+", `One pair of ${line.title} more`, 1)),
    sum,
    el("button", { class: "plain", type: "button", "aria-label": `Remove ${line.title}, ${line.detail}`, click: drop }, "Remove"));

  let confirmed = line.quantity;
  let timer;
  let changes = Promise.resolve();

  function step(text, label, by) {
    return el("button", { class: "step", type: "button", "aria-label": label, click: () => {
      input.value = String(Math.min(MOST, Math.max(1, Number(input.value) + by)));
      later();
    } }, text);
  }

  // Changes follow one another, so that the last one stays.
  function later() {
    clearTimeout(timer);
    timer = setTimeout(() => { changes = changes.then(change); }, TYPING_PAUSE);
  }

  async function change() {
    const quantity = Number(input.value);
    if (quantity === confirmed) return;
    if (!Number.isInteger(quantity) || quantity < 1 || quantity > MOST) return complain("A whole number from 1 to 999, please.");
    try {
      const content = await cart.change(line, quantity);
      confirmed = quantity;
      complain("");
      sum.textContent = format(cents(line.unitPrice) * quantity, line.unitPrice?.currencyCode);
      byId("total").textContent = shown(content.total);
      said.textContent = `${pairs(quantity)} of ${line.title}, total ${shown(content.total)}`;
    } catch (error) {
      if (error.status === 404) return load();
      complain(error.message);
    }
  }

  async function drop() {
    clearTimeout(timer);
    try {
      const content = await cart.drop(line);
      said.textContent = `${line.title} removed`;
      const next = item.nextElementSibling ?? item.previousElementSibling;
      item.remove();
      if (!next) return empty();
      next.querySelector("button.plain").focus();
      byId("total").textContent = shown(content.total);
    } catch (error) {
      complain(error.message);
    }
  }

  function complain(message) {
    wrong.textContent = message;
    wrong.hidden = !message;
  }

  input.addEventListener("input", later);
  return item;
}

/** Says below a line if there are fewer pairs than it wants. The order checks again. */
async function warnAboutStock(lines) {
  const answer = await get("/v1/stock:batchGet", { query: { variants: lines.map(({ variant }) => variant) } }).catch(() => null);
  for (const { variant, available = 0 } of answer?.stock ?? []) {
    const line = lines.find((each) => each.variant === variant);
    if (!line || available >= line.quantity) continue;
    const warning = box.querySelector(`[data-variant="${CSS.escape(variant)}"] .stock`);
    if (!warning) continue;
    warning.textContent = available === 0 ? "Sold out by now" : `Only ${available} left`;
    warning.hidden = false;
  }
}

window.addEventListener("session", load);
load();
