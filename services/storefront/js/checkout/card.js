// The card. Its data goes from the inputs to `cards:tokenize` and nowhere else: it is in no variable that
// outlives the call, in no storage, and the inputs are gone once there is a token.

import { post } from "../api.js";
import { el } from "../dom.js";
import { alertBox, clear, complete, field, show } from "../forms.js";

const TEST_CARDS = [
  ["4242 4242 4242 4242", "is paid"],
  ["4000 0000 0000 0002", "is declined"],
  ["4000 0000 0000 0341", "times out"],
];

/** The card part of the checkout: `{token(), forget(message)}`. */
export function cardPart(section) {
  const box = alertBox();
  const body = el("div", {});
  section.append(body, box);
  let kept = null;
  ask();

  function ask() {
    kept = null;
    body.replaceChildren(
      el("div", { class: "fields" },
        field({
          label: "Card number", name: "number", id: "card-number", inputmode: "numeric", autocomplete: "cc-number",
          minlength: "12", maxlength: "30", pattern: "[0-9 ]{12,30}", "data-complaint": "12 to 19 digits, please.",
        }),
        el("div", { class: "fields pair" },
          field({
            label: "Valid until", name: "expiry", id: "card-expiry", inputmode: "numeric", autocomplete: "cc-exp", placeholder: "MM/YY",
            pattern: "\\s*(0?[1-9]|1[0-2])\\s*/?\\s*(20)?[0-9]{2}\\s*", "data-complaint": "Month and year, such as 09/30.",
          }),
          field({
            label: "Security code", name: "cvv", id: "card-cvv", inputmode: "numeric", autocomplete: "cc-csc",
            pattern: "[0-9]{3,4}", maxlength: "4", "data-complaint": "The 3 or 4 digits on the card.",
          })),
        field({ label: "Name on the card", name: "holder", id: "card-holder", autocomplete: "cc-name", maxlength: "100" })),
      el("div", { class: "hint-box" },
        el("p", {}, "This shop is a demonstration. Use a test card:"),
        el("ul", {}, TEST_CARDS.map(([number, outcome]) => el("li", {},
          el("button", { class: "plain", type: "button", click: () => prefill(number) }, number), ` ${outcome}`)))));
    const expiry = body.querySelector("[name=expiry]");
    expiry.addEventListener("input", (event) => {
      if (/^\d{2}$/.test(expiry.value) && !event.inputType?.startsWith("delete")) expiry.value += "/";
    });
  }

  function prefill(number) {
    const set = (name, value) => {
      const input = body.querySelector(`[name=${name}]`);
      if (name === "number" || !input.value) input.value = value;
      input.dispatchEvent(new Event("input"));
    };
    set("number", number);
    set("expiry", `12/${String(new Date().getFullYear() + 3).slice(2)}`);
    set("cvv", "123");
    set("holder", "Test Customer");
  }

  function showKept({ brand, lastFour, expiryMonth, expiryYear }) {
    const again = el("button", { class: "plain", type: "button", click: () => {
      ask();
      body.querySelector("input").focus();
    } }, "Use another card");
    body.replaceChildren(el("p", { class: "kept", id: "card-kept" },
      `${(brand || "card").toUpperCase()} ending in ${lastFour}, valid until ${String(expiryMonth).padStart(2, "0")}/${expiryYear} `, again));
  }

  function read() {
    const of = (name) => body.querySelector(`[name=${name}]`).value.trim();
    const [, month, year] = /^(0?[1-9]|1[0-2])\s*\/?\s*((?:20)?\d{2})$/.exec(of("expiry"));
    const expiryYear = Number(year) < 100 ? 2000 + Number(year) : Number(year);
    return { number: of("number"), expiryMonth: Number(month), expiryYear, cvv: of("cvv"), holder: of("holder") };
  }

  return {
    /** Whether what was typed can be a card; marks what cannot. */
    complete() {
      clear(section);
      return kept !== null || complete(body);
    },

    /** The token's name, made from what was typed; null if that failed and is shown. */
    async token() {
      if (kept) return kept;
      try {
        const token = await post("/v1/cards:tokenize", { card: read() });
        kept = token.name;
        showKept(token);
        return kept;
      } catch (error) {
        show(body, box, error, { expiryMonth: "expiry", expiryYear: "expiry", card: "number" });
        return null;
      }
    },

    /** Asks for a card again, and says why. */
    forget(message) {
      ask();
      clear(section);
      box.textContent = message;
      box.hidden = false;
      body.querySelector("input").focus();
    },

    /** Whether this error is about the card. */
    concerns: ({ reason }) => /^CARD_/.test(reason) || reason === "PAYMENT_TIMED_OUT",
  };
}
