// What is being ordered, at the prices of now.

import { get } from "../api.js";
import { el, fill } from "../dom.js";
import { cents, format } from "../money.js";
import { picture, productOf } from "../product-card.js";

/** Shows the lines of a cart beside the checkout; the cart may hold older prices. */
export async function showSummary(aside, lines) {
  const names = lines.map(({ variant }) => variant);
  const answer = await get("/v1/variants:batchGet", { query: { names } }).catch(() => null);
  const prices = new Map((answer?.variants ?? []).map(({ name, price }) => [name, cents(price)]));
  const priced = lines.map((line) => ({ ...line, price: prices.get(line.variant) ?? cents(line.unitPrice) }));
  const currency = lines[0]?.unitPrice?.currencyCode;
  const total = priced.reduce((sum, { price, quantity }) => sum + price * quantity, 0);
  const changed = priced.some(({ price, unitPrice }) => price !== cents(unitPrice));
  fill(aside,
    el("h2", {}, "Your socks"),
    el("ul", { class: "small-lines" }, priced.map(({ variant, title, detail, quantity, price }) => el("li", {},
      el("span", { class: "frame" }, picture(productOf(variant), 56)),
      el("span", {}, el("strong", {}, title), el("span", { class: "soft" }, `${detail} · × ${quantity}`)),
      el("span", { class: "price" }, format(price * quantity, currency))))),
    changed && el("p", { class: "stock few" }, "A price has changed since you filled the cart."),
    el("p", { class: "row total" }, el("span", {}, "Total"), el("strong", {}, format(total, currency))),
    el("a", { class: "quiet-link", href: "/cart" }, "Change the cart"));
}
