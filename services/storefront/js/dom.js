// Builds DOM nodes. Text only ever gets in as text: there is no way to pass markup.

/** `el("a", {class: "x", href: "/"}, "text", node)`: functions become listeners, null is left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Replaces what a container shows and says that it is ready. */
export function fill(container, ...children) {
  container.replaceChildren(...children.flat().filter(Boolean));
  container.removeAttribute("aria-busy");
}

/** Shows why something could not be loaded, with a way to try again. */
export function problem(container, error, again) {
  fill(container, el("div", { class: "problem", role: "alert" },
    el("p", {}, error.message),
    again && el("button", { class: "button quiet", type: "button", click: again }, "Try again")));
}

/** Runs an action while its button shows that it is busy; a second click meanwhile does nothing. */
export async function busy(button, action) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  button.classList.add("busy");
  try {
    await action();
  } finally {
    button.removeAttribute("aria-disabled");
    button.classList.remove("busy");
  }
}

/** A point in time as people write it, with the styles of `Intl.DateTimeFormat`. */
export function date(timestamp, styles = { dateStyle: "medium" }) {
  const text = new Intl.DateTimeFormat("en-GB", styles).format(new Date(timestamp));
  return el("time", { datetime: timestamp }, text);
}

/** `1 pair`, `2 pairs`. */
export const pairs = (count) => `${count} ${count === 1 ? "pair" : "pairs"}`;

/** The part of a resource name after its last slash. */
export const lastPart = (name) => name.slice(name.lastIndexOf("/") + 1);
