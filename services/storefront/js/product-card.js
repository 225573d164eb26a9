// A product in a grid: picture, title, lowest price.

import { el, lastPart } from "./dom.js";
import { cents, shown } from "./money.js";

/** The address of a product's page. */
export const productPage = (name) => `/product?id=${encodeURIComponent(lastPart(name))}`;

/** The product's picture; `size` in CSS pixels. */
export function picture(productName, size, { eager = false } = {}) {
  const id = encodeURIComponent(lastPart(productName));
  return el("img", {
    src: `/v1/products/${id}/picture`, width: String(size), height: String(size), alt: "",
    loading: eager ? "eager" : "lazy", decoding: "async",
  });
}

/** The product of a variant's name. */
export const productOf = (variant) => variant.split("/variants/")[0];

export function productCard(product, options) {
  const prices = new Set((product.variants ?? []).map(({ price }) => cents(price)));
  return el("li", { class: "card" },
    el("a", { href: productPage(product.name) },
      el("span", { class: "frame" }, picture(product.name, 400, options)),
      el("span", { class: "card-title" }, product.title),
      el("span", { class: "price" }, prices.size > 1 ? `from ${shown(product.lowestPrice)}` : shown(product.lowestPrice)),
      el("span", { class: "soft colors" }, colors(product))));
}

/** Empty cards that keep the page from jumping while products load. */
export function placeholders(count) {
  return Array.from({ length: count }, () => el("li", { class: "card ghost", "aria-hidden": "true" },
    el("span", { class: "frame" }), el("span", { class: "card-title" }, "\u00a0"), el("span", { class: "price" }, "\u00a0"),
    el("span", { class: "soft colors" }, "\u00a0")));
}

function colors(product) {
  return [...new Set((product.variants ?? []).map(({ color }) => color))].join(" · ");
}

