// The address book: add, change and remove addresses.

import { get, post, put, remove, requestId } from "../api.js";
import { addressFields, oneLine } from "../address-form.js";
import { busy, el, fill, problem } from "../dom.js";
import { alertBox, clear, complete, show, values } from "../forms.js";

/** The section with the customer's addresses. */
export function addressBook() {
  const holder = el("div", { "aria-busy": "true" });
  const said = el("p", { class: "hush", role: "status" });

  async function load() {
    try {
      const { addresses = [] } = await get("/v1/customers/me/addresses");
      list(addresses);
    } catch (error) {
      problem(holder, error, load);
    }
  }

  function list(addresses) {
    fill(holder,
      addresses.length === 0 && el("p", { class: "soft" }, "No addresses yet."),
      el("ul", { class: "entries" }, addresses.map(row)),
      el("button", { class: "button quiet", type: "button", click: () => edit({}) }, "Add an address"));
  }

  function row(address) {
    const wrong = el("p", { class: "wrong", role: "alert" });
    return el("li", { class: "entry" },
      el("span", {}, oneLine(address), wrong),
      el("span", { class: "right" },
        el("button", { class: "plain", type: "button", "aria-label": `Change ${oneLine(address)}`, click: () => edit(address) }, "Change"),
        el("button", { class: "plain", type: "button", "aria-label": `Remove ${oneLine(address)}`, click: async () => {
          try {
            await remove(`/v1/${address.name}`);
            said.textContent = "Address removed";
            await load();
          } catch (error) {
            wrong.textContent = error.message;
          }
        } }, "Remove")));
  }

  function edit(address) {
    const id = requestId();
    const box = alertBox();
    const save = el("button", { class: "button", type: "submit" }, "Save");
    const form = el("form", { class: "fields", novalidate: true },
      addressFields(address, "book-"), box,
      el("p", { class: "actions" }, save, el("button", { class: "button quiet", type: "button", click: load }, "Cancel")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clear(form);
      if (!complete(form)) return;
      busy(save, async () => {
        const wish = values(form);
        try {
          if (address.name) await put(`/v1/${address.name}`, wish);
          else await post("/v1/customers/me/addresses", { requestId: id, address: wish });
        } catch (error) {
          show(form, box, error);
          return;
        }
        said.textContent = "Address saved";
        await load();
      });
    });
    fill(holder, form);
    form.querySelector("input").focus();
  }

  load();
  return el("section", { class: "panel" }, el("h2", {}, "Addresses"), holder, said);
}
