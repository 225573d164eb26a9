// Shows /openapi.json and sends requests by it. Text only ever goes into text nodes.

const byId = (id) => document.getElementById(id);

/** An element with attributes and content; strings become text. */
function el(name, attributes = {}, ...content) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value !== undefined) node.setAttribute(key, value);
  }
  node.append(...content.filter((part) => part !== undefined));
  return node;
}

/** A comment: paragraphs, with `code` in them. */
function prose(text) {
  return (text || "").split("\n\n").filter(Boolean).map((paragraph) => {
    const parts = paragraph.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
    return el("p", {}, ...parts);
  });
}

let api;
const resolve = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema) || {};
const nameOf = (schema) => schema?.$ref?.split(".").pop();

/** A type with its limits, in words. */
function typeOf(schema) {
  if (schema.type === "array") return `list of ${typeOf(schema.items || {})}${span(schema.minItems, schema.maxItems, "")}`;
  const found = resolve(schema);
  if (found.enum) return "one of these";
  if (schema.$ref) return nameOf(schema);
  const length = span(schema.minLength, schema.maxLength, " characters");
  const size = span(schema.minimum, schema.maximum, "");
  const format = schema.format && !/^u?int/.test(schema.format) ? ` (${schema.format})` : "";
  const number = /^u?int64$/.test(schema.format || "") ? "integer in a string" : schema.type || "any";
  return number + format + length + size;
}

function span(low, high, unit) {
  if (high === 4294967295) high = undefined;
  if (low === undefined && high === undefined) return "";
  if (high === undefined) return low > 0 ? `, at least ${low}${unit}` : "";
  return low === undefined ? `, at most ${high}${unit}` : `, ${low} to ${high}${unit}`;
}

/** One field or parameter; what is in it opens on demand, for messages may hold themselves. */
function field(name, schema, description, marks) {
  const node = el("div", { class: "field" }, el("span", { class: "name-of" }, name), el("span", { class: "dim" }, typeOf(schema)));
  for (const mark of marks) node.append(el("span", { class: mark === "required" ? "mark must" : "mark" }, mark));
  if (schema.pattern) node.append(el("span", { class: "mark" }, el("code", {}, schema.pattern)));
  node.append(...prose(description));
  const inner = resolve(schema.type === "array" ? schema.items : schema);
  if (inner.enum) node.append(el("p", {}, ...inner.enum.flatMap((value) => [el("code", {}, value), " "])));
  if (inner.properties) {
    const details = el("details", {}, el("summary", {}, `fields of ${nameOf(schema.items || schema) || name}`));
    details.addEventListener("toggle", () => details.append(fields(inner)), { once: true });
    node.append(details);
  }
  return node;
}

function fields(schema) {
  const found = resolve(schema);
  const rows = Object.entries(found.properties || {}).map(([name, inner]) => {
    const marks = [];
    if (found.required?.includes(name)) marks.push("required");
    if (inner.readOnly) marks.push("in responses only");
    if (inner.writeOnly) marks.push("in requests only");
    return field(name, inner, inner.description, marks);
  });
  return el("div", { class: "fields" }, ...rows);
}

/** A request body to start from: what must be given. */
function example(schema, depth = 0) {
  const found = resolve(schema);
  if (found.enum) return found.enum[0];
  if (found.type === "array") return depth > 4 ? [] : [example(found.items, depth + 1)];
  if (found.type === "object") {
    const wanted = Object.entries(found.properties || {}).filter(([name, inner]) => found.required?.includes(name) && !inner.readOnly);
    return depth > 4 ? {} : Object.fromEntries(wanted.map(([name, inner]) => [name, example(inner, depth + 1)]));
  }
  if (found.type === "integer" || found.type === "number") return found.minimum || 1;
  if (found.type === "boolean") return true;
  if (found.format === "uuid") return crypto.randomUUID?.() || "6f1c2a34-0d5e-4b7a-9c8d-1e2f3a4b5c6d";
  if (found.format === "email") return "ada@example.com";
  return "";
}

const bodyOf = (operation) => operation.requestBody?.content["application/json"];
const needsToken = (operation) => operation.security.length > 0;

/** The form that sends a request, and the same as a line for the shell. */
function tryIt(verb, path, operation) {
  const inputs = operation.parameters.map((parameter) => [parameter, el("input", { type: "text", spellcheck: "false", autocomplete: "off" })]);
  const json = bodyOf(operation) && JSON.stringify(example(bodyOf(operation).schema), null, 2);
  const body = json && el("textarea", { rows: Math.min(json.split("\n").length, 16), spellcheck: "false", "aria-label": "Request body" });
  if (body) body.value = json;
  const line = el("pre");
  const answer = el("div", { "aria-live": "polite" });

  const target = () => {
    const query = new URLSearchParams();
    let filled = path;
    for (const [parameter, input] of inputs) {
      if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(input.value) || `{${parameter.name}}`);
      else if (input.value) query.append(parameter.name, input.value);
    }
    return query.size ? `${filled}?${query}` : filled;
  };
  const draw = () => {
    const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const parts = ["curl"];
    if (verb !== "get" && verb !== "post") parts.push(`-X ${verb.toUpperCase()}`);
    else if (verb === "post" && !body) parts.push("-X POST");
    if (needsToken(operation)) parts.push('-H "Authorization: Bearer $TOKEN"');
    if (body) parts.push(`--json ${quote(body.value.replace(/\n\s*/g, ""))}`);
    line.textContent = `${parts.join(" ")} ${quote(location.origin + target())}`;
  };
  const send = async (event) => {
    event.preventDefault();
    const headers = body ? { "content-type": "application/json" } : {};
    if (byId("token").value) headers.authorization = `Bearer ${byId("token").value}`;
    answer.replaceChildren(el("p", { class: "dim" }, "…"));
    const began = performance.now();
    try {
      const response = await fetch(target(), { method: verb.toUpperCase(), headers, body: body?.value });
      const text = await response.text();
      const status = `${response.status} ${response.statusText} in ${Math.round(performance.now() - began)} ms`;
      answer.replaceChildren(el("p", { class: "dim" }, status), el("pre", {}, pretty(text)));
    } catch (error) {
      answer.replaceChildren(el("p", {}, `No answer: ${error.message}`));
    }
  };
  const copy = (event) => navigator.clipboard?.writeText(line.textContent).then(() => (event.target.textContent = "Copied"));
  draw();
  const labels = inputs.map(([parameter, input]) => el("label", {}, `${parameter.name}${parameter.required ? "" : " (optional)"}`, input));
  const form = el("form", { submit: send, input: draw }, ...labels, body, el("div", { class: "row" }, el("button", {}, "Send")));
  return el("div", { class: "try" }, el("h3", {}, "Try it"), form, answer,
    el("div", { class: "row" }, el("h3", {}, "In a shell"), el("button", { class: "quiet", type: "button", click: copy }, "Copy")), line);
}

/** JSON indented, other text as it is. A token in it is taken for the next requests. */
function pretty(text) {
  try {
    const json = JSON.parse(text);
    if (typeof json.accessToken === "string") byId("token").value = json.accessToken;
    return JSON.stringify(json, null, 2);
  } catch {
    return text;
  }
}

function facts(operation) {
  const node = el("div", { class: "facts" }, ...prose(operation.description));
  const access = needsToken(operation) ? "Needs a customer's token." : "Open to anybody.";
  node.append(el("p", { class: "dim" }, `${access} Over gRPC: `, el("code", {}, operation["x-grpc-method"])));
  if (operation.parameters.length) {
    const rows = operation.parameters.map((p) => field(p.name, p.schema, p.description, [p.in, ...(p.required ? ["required"] : [])]));
    node.append(el("h3", {}, "Parameters"), el("div", { class: "fields" }, ...rows));
  }
  const request = Object.values(operation.requestBody?.content || {})[0];
  if (request?.schema) node.append(el("h3", {}, "Request body"), fields(request.schema));
  const errors = [];
  for (const [status, response] of Object.entries(operation.responses)) {
    const kinds = Object.keys(response.content || {}).join(", ");
    const schema = response.content?.["application/json"]?.schema;
    if (status === "200") {
      node.append(el("h3", {}, "Response"), el("p", { class: "dim" }, kinds));
      if (schema) node.append(fields(schema.items || schema));
    } else {
      errors.push(el("p", {}, el("span", { class: "status" }, status), response.description));
    }
  }
  if (errors.length) node.append(el("h3", {}, "Errors"), ...errors);
  return node;
}

function section(verb, path, operation) {
  const summary = el("summary", {}, el("span", { class: `verb ${verb}` }, verb.toUpperCase()), el("span", { class: "path" }, path), el("span", { class: "dim" }, operation.summary.replaceAll("`", "")));
  const details = el("details", { class: "operation", id: operation.operationId }, summary);
  details.addEventListener("toggle", () => details.append(el("div", { class: "body" }, facts(operation), tryIt(verb, path, operation))), { once: true });
  details.dataset.words = `${verb} ${path} ${operation.operationId} ${operation.summary}`.toLowerCase();
  return details;
}

/** Opens the method the address names. */
function open() {
  const named = byId(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details")) {
    named.open = true;
    named.scrollIntoView();
  }
}

function search() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const service of document.querySelectorAll(".service")) {
    let here = 0;
    for (const node of service.querySelectorAll(".operation")) {
      node.hidden = !words.every((word) => node.dataset.words.includes(word));
      here += node.hidden ? 0 : 1;
    }
    service.hidden = here === 0;
    found += here;
  }
  byId("nothing").hidden = found > 0;
}

async function show() {
  const answer = await fetch("/openapi.json");
  api = await answer.json();
  document.title = api.info.title;
  byId("title").textContent = api.info.title;
  byId("about").textContent = api.info.description;
  byId("operations").replaceChildren();
  const all = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).map(([verb, operation]) => [verb, path, operation]));
  for (const tag of api.tags) {
    const here = all.filter(([, , operation]) => operation.tags.includes(tag.name));
    const links = here.map(([, , operation]) => el("a", { href: `#${operation.operationId}` }, operation.operationId.split("_").pop()));
    byId("contents").append(el("strong", {}, tag.name), ...links);
    byId("operations").append(el("section", { class: "service" }, el("h2", {}, tag.name), ...prose(tag.description), ...here.map((one) => section(...one))));
  }
  open();
}

byId("search").addEventListener("input", search);
window.addEventListener("hashchange", open);
window.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.matches("input, textarea")) {
    event.preventDefault();
    byId("search").focus();
  }
});
show().catch((error) => byId("operations").replaceChildren(el("p", {}, `The description cannot be loaded: ${error.message}`)));
