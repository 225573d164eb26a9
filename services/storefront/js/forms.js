// Form fields with label, hint and error, and the mapping of errors onto them.

import { el } from "./dom.js";

/** A labelled input; `options` makes it a select. Other attributes go to the input. */
export function field({ label, hint, name, options, id = name, value, ...attributes }) {
  const notes = [hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" ");
  const common = { id, name, "aria-describedby": notes, required: true, ...attributes };
  const input = options
    ? el("select", common, options.map(([key, text]) => el("option", { value: key }, text)))
    : el("input", { type: "text", ...common });
  if (value) input.value = value;
  input.addEventListener("input", () => mark(input, ""));
  return el("div", { class: `field f-${id}` },
    el("label", { for: id }, label),
    input,
    hint && el("p", { class: "hint", id: `${id}-hint` }, hint),
    el("p", { class: "wrong", id: `${id}-error`, hidden: true }));
}

/** Where errors go that belong to no field. */
export const alertBox = () => el("p", { class: "problem", role: "alert", hidden: true, tabindex: "-1" });

/** Shows the message below an input; an empty one removes it. */
export function mark(input, message) {
  const box = document.getElementById(`${input.id}-error`);
  if (message) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  if (!box) return;
  box.textContent = message;
  box.hidden = !message;
}

/** Removes all errors of a part of the page. */
export function clear(part) {
  for (const input of inputs(part)) mark(input, "");
  for (const box of part.querySelectorAll(".problem")) say(box, "");
}

/** Fills or empties an alert box. */
export function say(box, message) {
  box.textContent = message;
  box.hidden = !message;
}

/** Checks what the browser can check. Marks what is wrong and moves the focus there. */
export function complete(part) {
  const wrong = inputs(part).filter((input) => !input.validity.valid);
  for (const input of wrong) mark(input, complaint(input));
  wrong[0]?.focus();
  return wrong.length === 0;
}

/**
 * Shows an error of the API: violations beside the inputs named like the field's last part (`aliases` maps
 * others), the rest in the box. What was typed stays.
 */
export function show(part, box, error, aliases = {}) {
  const left = [];
  let first = null;
  for (const { field: path, description } of error.violations ?? []) {
    const last = camel(String(path).split(".").pop());
    const input = inputs(part).find((each) => each.name === (aliases[last] ?? last));
    if (!input) {
      left.push(`${path}: ${description}`);
      continue;
    }
    const text = error.violations.length === 1 && error.reason ? error.message : description;
    mark(input, text.charAt(0).toUpperCase() + text.slice(1));
    first ??= input;
  }
  if (left.length > 0 || !first) say(box, left.length > 0 ? left.join("; ") : error.message);
  (first ?? box).focus();
}

/** The values of the named inputs, trimmed, save passwords. */
export function values(part) {
  return Object.fromEntries(inputs(part).filter((input) => input.name).map((input) => [
    input.name, input.type === "password" ? input.value : input.value.trim(),
  ]));
}

const inputs = (part) => [...part.querySelectorAll("input:not([type=radio]):not([type=checkbox]), select")];

const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

function complaint(input) {
  const { validity } = input;
  if (validity.valueMissing) return "Please fill this in.";
  if (validity.typeMismatch && input.type === "email") return "This does not look like an e-mail address.";
  if (validity.tooShort) return `At least ${input.minLength} characters, please.`;
  return input.dataset.complaint ?? input.validationMessage;
}
