// Log in or register, in place. Ends by telling whoever asked; the session is in `session.js` then.

import { post } from "./api.js";
import * as cart from "./cart.js";
import { busy, el } from "./dom.js";
import { alertBox, clear, complete, field, say, show, values } from "./forms.js";
import * as session from "./session.js";

/** The form. `onDone` is called after login and after the guest's cart was merged. */
export function loginForm(onDone) {
  const holder = el("div", { class: "login" });
  const choose = (register) => {
    const kept = values(holder);
    holder.replaceChildren(register ? registration() : login());
    const email = holder.querySelector("[name=email]");
    if (kept.email) email.value = kept.email;
    if (holder.isConnected) email.focus();
  };

  function login() {
    return form("Log in", "login", [
      field({ label: "E-mail", name: "email", type: "email", autocomplete: "username", maxlength: "254" }),
      field({ label: "Password", name: "password", type: "password", autocomplete: "current-password", maxlength: "200" }),
    ], signIn, el("p", { class: "soft" }, "New here? ", switchTo("Make an account", true)));
  }

  function registration() {
    return form("Make the account", "register", [
      field({ label: "Your name", name: "displayName", autocomplete: "name", maxlength: "100" }),
      field({ label: "E-mail", name: "email", type: "email", autocomplete: "username", maxlength: "254" }),
      field({
        label: "Password", name: "password", type: "password", autocomplete: "new-password",
        minlength: "10", maxlength: "200", hint: "At least 10 characters.",
      }),
    ], async (wish) => {
      await post("/v1/customers", wish);
      await signIn(wish);
    }, el("p", { class: "soft" }, "Been here before? ", switchTo("Log in", false)));
  }

  const switchTo = (text, register) =>
    el("button", { class: "plain", type: "button", click: () => choose(register) }, text);

  async function signIn({ email, password }) {
    session.begin(await post("/v1/sessions", { email, password }));
    await cart.merge();
    await cart.read().catch(() => null);
  }

  function form(text, id, fields, action, foot) {
    const box = alertBox();
    const button = el("button", { class: "button", type: "submit" }, text);
    const node = el("form", { id, class: "fields", novalidate: true }, fields, box, el("div", {}, button), foot);
    node.addEventListener("submit", (event) => {
      event.preventDefault();
      clear(node);
      if (!complete(node)) return;
      busy(button, async () => {
        try {
          await action(values(node));
        } catch (error) {
          if (error.reason === "EMAIL_TAKEN") say(box, error.message);
          else show(node, box, error);
          return;
        }
        await onDone();
      });
    });
    return node;
  }

  choose(false);
  return holder;
}
