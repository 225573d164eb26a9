// The landing page: the newest socks and the categories.

import { get } from "../api.js";
import { byId, el, fill, problem } from "../dom.js";
import { placeholders, productCard } from "../product-card.js";
import "../shell.js";

const NEWEST = 8;

async function showNewest() {
  const list = byId("newest");
  list.replaceChildren(...placeholders(NEWEST));
  try {
    const { products = [] } = await get("/v1/products", { query: { orderBy: "create_time desc", pageSize: NEWEST } });
    fill(list, products.map((product) => productCard(product)));
  } catch (error) {
    problem(list, error, showNewest);
  }
}

async function showCategories() {
  const list = byId("categories");
  try {
    const { categories = [] } = await get("/v1/categories");
    fill(list, categories.map(swatch));
  } catch (error) {
    problem(list, error, showCategories);
  }
}

function swatch({ id, title, productCount = 0 }, index) {
  return el("li", {},
    el("a", { class: `swatch knit-${(index % 8) + 1}`, href: `/catalogue?category=${encodeURIComponent(id)}` },
      el("span", { class: "label" }, el("strong", {}, title), el("span", { class: "soft" }, `${productCount} kinds`))));
}

showNewest();
showCategories();
