// The catalogue. What is shown is in the address, so that it can be shared and the back button works.

import { get } from "../api.js";
import { byId, el, fill, problem } from "../dom.js";
import { placeholders, productCard } from "../product-card.js";
import "../shell.js";

const PAGE = 24;
const LARGEST_PAGE = 96;
const ORDERS = { new: "create_time desc", cheap: "price", dear: "price desc" };
const TYPING_PAUSE = 250;

const form = byId("filters");
const list = byId("products");
const more = byId("more");
let titles = new Map();
let pages = Math.max(1, Number(history.state?.pages) || 1);
let nextPageToken = "";
let loading = new AbortController();

/** What the address asks for. */
function wanted() {
  const query = new URLSearchParams(location.search);
  const of = (name) => query.get(name) ?? "";
  return { q: of("q"), category: of("category"), price: of("price"), sort: of("sort") };
}

/** The wish as a filter of the API (AIP-160). */
function filter({ q, category, price }) {
  const quoted = (text) => `"${text.replace(/["\\]/g, "")}"`;
  const [least, most] = price.split("-");
  return [
    category && `category = ${quoted(category)}`,
    Number(least) > 0 && `price >= ${Number(least)}`,
    Number(most) > 0 && `price <= ${Number(most)}`,
    ...q.split(/\s+/).filter((word) => /[^"\\]/.test(word)).map(quoted),
  ].filter(Boolean).join(" AND ");
}

async function load({ append = false } = {}) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const wish = wanted();
  if (!append) {
    list.setAttribute("aria-busy", "true");
    if (list.childElementCount === 0) list.replaceChildren(...placeholders(12));
  }
  const pageSize = append ? PAGE : Math.min(PAGE * pages, LARGEST_PAGE);
  const query = { filter: filter(wish), orderBy: ORDERS[wish.sort], pageSize, pageToken: append ? nextPageToken : "" };
  try {
    const answer = await get("/v1/products", { query, signal });
    show(answer, append);
  } catch (error) {
    if (error.name === "AbortError") return;
    more.hidden = true;
    byId("found").textContent = "";
    problem(list, error, () => load());
  }
}

function show({ products = [], nextPageToken: next = "", totalSize = 0 }, append) {
  nextPageToken = next;
  more.hidden = !next;
  const cards = products.map((product, index) => productCard(product, { eager: !append && index < 4 }));
  if (append) {
    list.append(...cards);
    cards[0]?.querySelector("a").focus();
  } else {
    fill(list, cards);
  }
  byId("found").textContent = totalSize === 0
    ? "No sock matches. Try fewer words or another category."
    : `${list.childElementCount} of ${totalSize} kinds of socks`;
}

/** Shows the address's wish in the form and the heading. */
function reflect() {
  const { q, category, price, sort } = wanted();
  if (document.activeElement !== byId("q")) byId("q").value = q;
  byId("price").value = price;
  byId("sort").value = sort;
  for (const radio of form.querySelectorAll("[name=category]")) radio.checked = radio.value === category;
  const title = titles.get(category) ?? "All socks";
  byId("title").textContent = title;
  document.title = `${title} · Heel & Weft, socks`;
}

/** Puts the form's wish into the address and loads it. */
function apply({ replace = false } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value.trim()) query.set(name, value.trim());
  const address = query.size > 0 ? `/catalogue?${query}` : "/catalogue";
  if (address === location.pathname + location.search) return;
  pages = 1;
  history[replace ? "replaceState" : "pushState"]({ pages }, "", address);
  reflect();
  load();
}

async function showCategories() {
  const pill = (id, title) => el("label", { class: "pill" },
    el("input", { type: "radio", name: "category", value: id }), el("span", {}, title));
  const box = byId("categories");
  box.replaceChildren(pill("", "All"));
  try {
    const { categories = [] } = await get("/v1/categories");
    titles = new Map(categories.map(({ id, title }) => [id, title]));
    box.append(...categories.map(({ id, title }) => pill(id, title)));
  } catch {
    // The list of products says what is wrong.
  }
  reflect();
}

let typing;
byId("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => apply({ replace: true }), TYPING_PAUSE);
});
form.addEventListener("change", (event) => event.target.id !== "q" && apply());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  apply();
});
more.addEventListener("click", () => {
  pages += 1;
  history.replaceState({ pages }, "");
  load({ append: true });
});
window.addEventListener("popstate", (event) => {
  pages = Math.max(1, Number(event.state?.pages) || 1);
  reflect();
  load();
});

reflect();
showCategories();
load();
