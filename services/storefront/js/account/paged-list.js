// A section with a list of the API that grows page by page.

import { get } from "../api.js";
import { busy, el, fill, problem } from "../dom.js";

/** The section; `key` names the list in the answer, `row` makes an item, `none` is said if it is empty. */
export function pagedList({ title, path, key, row, none }) {
  const list = el("ul", { class: "entries" });
  const holder = el("div", { "aria-busy": "true" });
  const more = el("button", { class: "button quiet", type: "button", hidden: true, click: () => busy(more, load) }, "Show more");
  let pageToken = "";

  async function load() {
    try {
      const answer = await get(path, { query: { pageSize: 10, pageToken } });
      pageToken = answer.nextPageToken ?? "";
      list.append(...(answer[key] ?? []).map(row));
      more.hidden = !pageToken;
      fill(holder, list.childElementCount > 0 ? list : el("p", { class: "soft" }, none));
    } catch (error) {
      more.hidden = true;
      problem(holder, error, load);
    }
  }

  load();
  return el("section", { class: "panel" }, el("h2", {}, title), holder, more);
}
