// What every page has: the header's account link and cart count, and the notice below it.

import * as cart from "./cart.js";
import { byId, el } from "./dom.js";
import * as session from "./session.js";

function showAccount() {
  byId("account-link").textContent = session.customer() ? "Account" : "Log in";
}

function showCount(count) {
  const badge = byId("cart-count");
  badge.textContent = count > 99 ? "99+" : String(count);
  badge.hidden = count === 0;
  badge.setAttribute("aria-label", `${count} in the cart`);
}

/** Says something below the header until the page is left. */
export function notice(...content) {
  const box = byId("notice");
  box.replaceChildren(...content);
  box.hidden = false;
}

/** The address of the login form that comes back here. */
export const loginHere = () => `/account?next=${encodeURIComponent(location.pathname + location.search)}`;

window.addEventListener("cart", (event) => showCount(event.detail));
window.addEventListener("session", ({ detail }) => {
  showAccount();
  if (detail !== "begun") cart.forget();
  if (detail === "expired") {
    // The checkout has its own login, so that nothing typed there is lost.
    const login = byId("who") ? "#who" : loginHere();
    notice("Your login has expired. ", el("a", { href: login }, "Log in again"), " to go on.");
  } else {
    byId("notice").hidden = true;
  }
});
// Another tab logged in or out, or changed the cart.
window.addEventListener("storage", () => {
  showAccount();
  showCount(cart.lastCount());
});

showAccount();
showCount(cart.lastCount());
await cart.merge();
