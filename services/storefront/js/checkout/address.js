// Where the parcel goes: an address of the customer's book or a new one, and the e-mail for news.

import { get, post, requestId } from "../api.js";
import { addressFields, oneLine } from "../address-form.js";
import { el } from "../dom.js";
import { alertBox, clear, complete, field, show, values } from "../forms.js";
import * as session from "../session.js";

const PARTS = ["recipient", "street", "city", "postalCode", "regionCode"];

/** The address part of the checkout: `{load(), complete(), save(), read(), explain(error)}`. */
export function addressPart(section) {
  const box = alertBox();
  const book = el("div", { class: "choices" });
  const fresh = addressFields();
  const keep = el("input", { type: "checkbox", id: "keep-address", checked: true });
  const keepLabel = el("label", { class: "check", for: "keep-address" }, keep, " Keep it in my address book");
  const mail = el("div", { class: "fields" }, field({
    label: "E-mail for news about the order", name: "email", id: "order-email", type: "email", autocomplete: "email", maxlength: "254",
  }));
  section.append(book, fresh, keepLabel, mail, box);
  let addresses = [];
  // Stays the same until the address is kept, so that it is kept once.
  let keeping = null;

  function chosen() {
    const index = book.querySelector("input:checked")?.value ?? "new";
    return index === "new" ? null : addresses[Number(index)];
  }

  function showFresh() {
    const hidden = chosen() !== null;
    fresh.hidden = hidden;
    keepLabel.hidden = hidden;
  }

  function showBook(selected) {
    const choice = (value, text) => el("label", { class: "choice" },
      el("input", { type: "radio", name: "address", value, checked: value === selected, change: showFresh }), el("span", {}, text));
    book.replaceChildren(...(addresses.length === 0 ? [] : [
      ...addresses.map((address, index) => choice(String(index), oneLine(address))), choice("new", "Another address"),
    ]));
    showFresh();
  }

  return {
    /** Reads the address book; what was typed stays. */
    async load() {
      const email = section.querySelector("[name=email]");
      email.value ||= session.customer()?.email ?? "";
      const recipient = fresh.querySelector("[name=recipient]");
      recipient.value ||= session.customer()?.displayName ?? "";
      try {
        const answer = await get("/v1/customers/me/addresses");
        addresses = answer.addresses ?? [];
      } catch {
        // The book is a convenience: the address can be typed.
        addresses = [];
      }
      const typed = fresh.querySelector("[name=street]").value !== "";
      showBook(addresses.length > 0 && !typed ? String(addresses.length - 1) : "new");
    },

    complete() {
      clear(section);
      const address = chosen() !== null || complete(fresh);
      return complete(mail) && address;
    },

    /** Keeps a new address in the book if that was asked for. The order does not depend on it. */
    async save() {
      if (chosen() || !keep.checked) return;
      const address = this.read().shippingAddress;
      const key = JSON.stringify(address);
      if (keeping?.key !== key) keeping = { key, id: requestId() };
      try {
        const kept = await post("/v1/customers/me/addresses", { requestId: keeping.id, address });
        addresses.push(kept);
        showBook(String(addresses.length - 1));
      } catch {
        // Told nowhere: the parcel finds its way without the book.
      }
    },

    /** Address and e-mail as the order wants them. */
    read() {
      const source = chosen() ?? values(fresh);
      return {
        shippingAddress: Object.fromEntries(PARTS.map((part) => [part, source[part]])),
        email: values(mail).email,
      };
    },

    /** Shows errors of the order that concern these fields. */
    explain(error) {
      if (chosen()) showBook("new");
      show(section, box, error);
    },

    concerns: ({ violations }) => violations.some(({ field: path }) => /address|email/.test(path)),
  };
}
