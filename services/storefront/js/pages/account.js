// The account: log in or register, or see orders, mails and addresses.

import { addressBook } from "../account/addresses.js";
import { pagedList } from "../account/paged-list.js";
import { byId, date, el, fill } from "../dom.js";
import { loginForm } from "../login-form.js";
import { shown } from "../money.js";
import { short, stateWord } from "../order-state.js";
import * as session from "../session.js";
import "../shell.js";

const CLOCK = { dateStyle: "medium", timeStyle: "short" };
const box = byId("account");

/** Where to go after login: a path of this shop, or null. */
function next() {
  const wanted = new URLSearchParams(location.search).get("next") ?? "";
  const target = new URL(wanted || "/account", location.origin);
  const inside = wanted.startsWith("/") && target.origin === location.origin && target.pathname !== "/account";
  return inside ? target.pathname + target.search : null;
}

function show() {
  const customer = session.customer();
  byId("hello").textContent = customer ? `Hello, ${customer.displayName}.` : "Log in";
  if (!customer) {
    fill(box, el("section", { class: "panel narrow", "aria-label": "Log in" }, loginForm(() => {
      const target = next();
      if (target) location.assign(target);
      else show();
    })));
    return;
  }
  const out = el("button", { class: "plain", id: "log-out", type: "button", click: () => {
    session.end();
    show();
  } }, "Log out");
  fill(box,
    el("p", { class: "soft" }, `${customer.email} `, out),
    el("div", { class: "columns" },
      pagedList({ title: "Orders", path: "/v1/orders", key: "orders", row: orderRow, none: "No orders yet. Your feet must be freezing." }),
      pagedList({ title: "Mails", path: "/v1/mails", key: "mails", row: mailRow, none: "No mails yet. One follows every order." }),
      addressBook()));
}

function orderRow({ name, state, total, createTime, lines = [] }) {
  const count = lines.reduce((sum, { quantity }) => sum + quantity, 0);
  return el("li", {},
    el("a", { class: "entry", href: `/order?name=${encodeURIComponent(name)}` },
      el("span", {}, el("strong", {}, `No. ${short(name)}`), el("span", { class: "soft" }, date(createTime, CLOCK), ` · ${count} × socks`)),
      el("span", { class: "right" }, el("span", { class: "price" }, shown(total)),
        el("span", { class: `tag ${state === "ORDER_STATE_PAID" ? "good" : state === "ORDER_STATE_REJECTED" ? "bad" : ""}` }, stateWord(state)))));
}

function mailRow({ subject, body, recipient, sendTime }) {
  return el("li", {}, el("details", {},
    el("summary", { class: "entry" }, el("span", {}, el("strong", {}, subject),
      el("span", { class: "soft" }, sendTime ? date(sendTime, CLOCK) : "Waiting to be sent", ` · ${recipient}`))),
    el("p", { class: "mail" }, body)));
}

window.addEventListener("session", ({ detail }) => detail === "expired" && show());
show();
