// One product: its variants with price and stock, and the way into the cart.

import { get, requestId } from "../api.js";
import * as cart from "../cart.js";
import { busy, byId, el, fill, pairs, problem } from "../dom.js";
import { shown } from "../money.js";
import { picture, productCard } from "../product-card.js";
import "../shell.js";

const FEW = 5;
const MOST = 999;
const box = byId("product");
const id = new URLSearchParams(location.search).get("id") ?? "";

async function load() {
  if (!/^[a-z0-9-]{1,63}$/.test(id)) return missing();
  try {
    const product = await get(`/v1/products/${id}`);
    const names = (product.variants ?? []).map(({ name }) => name);
    // Without the stock the socks can still be ordered: the order checks it.
    const stock = await get("/v1/stock:batchGet", { query: { variants: names } }).catch(() => null);
    const available = new Map((stock?.stock ?? []).map((each) => [each.variant, each.available ?? 0]));
    show(product, (name) => (stock ? available.get(name) ?? 0 : null));
    showAlike(product);
  } catch (error) {
    if (error.status === 404) missing();
    else problem(box, error, load);
  }
}

function missing() {
  fill(box, el("div", { class: "empty" },
    el("h1", {}, "This sock does not exist."),
    el("p", {}, "Perhaps it never had a partner."),
    el("a", { class: "button", href: "/catalogue" }, "See all socks")));
}

function show(product, availableOf) {
  document.title = `${product.title} · Heel & Weft, socks`;
  const variants = product.variants ?? [];
  const chosen = variants.find(({ name }) => availableOf(name) !== 0);
  fill(box,
    el("div", { class: "frame large" }, picture(product.name, 640, { eager: true })),
    el("div", { class: "about" },
      el("p", { class: "tags" }, (product.categories ?? []).map((category) =>
        el("a", { class: "tag", href: `/catalogue?category=${encodeURIComponent(category)}` }, category))),
      el("h1", {}, product.title),
      el("p", { class: "lead" }, product.description),
      chosen ? orderForm(variants, chosen, availableOf) : soldOut()));
}

const soldOut = () => el("p", { class: "problem" }, "All pairs are sold. More are being knitted.");

function orderForm(variants, chosen, availableOf) {
  const quantity = el("input", {
    id: "quantity", name: "quantity", type: "number", min: "1", max: String(MOST), value: "1", inputmode: "numeric", required: true,
  });
  const said = el("p", { id: "added", class: "said", role: "status" });
  const button = el("button", { class: "button", id: "add-to-cart", type: "submit" }, "Add to cart");
  const form = el("form", { class: "buy", novalidate: true },
    el("fieldset", { class: "variants" },
      el("legend", {}, "Size and colour"),
      variants.map((variant) => choice(variant, variant === chosen, availableOf(variant.name)))),
    el("div", { class: "field short" }, el("label", { for: "quantity" }, "Pairs"), quantity),
    button, said);
  // One id for one wish: it stays the same until the cart has answered.
  let wish = null;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(button, async () => {
      const variant = new FormData(form).get("variant");
      const count = Number(quantity.value);
      const limit = Math.min(availableOf(variant) ?? MOST, MOST);
      if (!Number.isInteger(count) || count < 1 || count > limit) {
        quantity.setAttribute("aria-invalid", "true");
        quantity.focus();
        said.replaceChildren(limit < MOST ? `Between 1 and ${limit}: that is all we have.` : "A whole number from 1 to 999, please.");
        return;
      }
      quantity.removeAttribute("aria-invalid");
      if (wish?.variant !== variant || wish?.count !== count) wish = { variant, count, id: requestId() };
      try {
        await cart.add(variant, count, wish.id);
        wish = null;
        said.replaceChildren(`${pairs(count)} added. `, el("a", { href: "/cart" }, "Go to the cart"));
      } catch (error) {
        if (!error.uncertain) wish = null;
        said.replaceChildren(error.message);
      }
    });
  });
  return form;
}

function choice({ name, size, color, price }, checked, available) {
  const left = stockText(available);
  return el("label", { class: "variant" },
    el("input", { type: "radio", name: "variant", value: name, checked, disabled: available === 0 }),
    el("span", { class: "tile" },
      el("strong", {}, size), el("span", {}, color),
      el("span", { class: "price" }, shown(price)),
      left && el("span", { class: `stock ${available === 0 ? "none" : available <= FEW ? "few" : "soft"}` }, left)));
}

function stockText(available) {
  if (available === null) return null;
  if (available === 0) return "Sold out";
  return available <= FEW ? `Only ${available} left` : "In stock";
}

async function showAlike(product) {
  const category = product.categories?.[0];
  if (!category) return;
  try {
    const query = { filter: `category = "${category}"`, orderBy: "create_time desc", pageSize: 5 };
    const { products = [] } = await get("/v1/products", { query });
    const others = products.filter(({ name }) => name !== product.name).slice(0, 4);
    fill(byId("alike"), others.map((other) => productCard(other)));
    byId("more-like-this").hidden = others.length === 0;
  } catch {
    // A suggestion less; nothing to tell.
  }
}

load();
