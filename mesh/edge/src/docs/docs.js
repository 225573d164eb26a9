// Renders /openapi.json. Text only ever goes into text nodes.
"use strict";

function element(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function schemaOf(document_, schema) {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? document_.components.schemas[name] : schema || {};
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop().split(".").pop();
  if (schema.type === "array") return typeOf(schema.items) + "[]";
  const rules = [];
  for (const [key, sign] of [["minimum", "≥ "], ["maximum", "≤ "], ["minLength", "at least "], ["maxLength", "at most "], ["pattern", ""], ["format", ""]]) {
    if (schema[key] !== undefined) rules.push(sign + schema[key]);
  }
  return (schema.type || "any") + (rules.length ? " (" + rules.join(", ") + ")" : "");
}

// An example of a request body: what must be given, nested up to four deep.
function example(document_, schema, depth) {
  const found = schemaOf(document_, schema);
  if (found.enum) return found.enum[0];
  if (found.type === "array") return depth > 4 ? [] : [example(document_, found.items, depth + 1)];
  if (found.type === "object") {
    const out = {};
    for (const [name, inner] of Object.entries(found.properties || {})) {
      const wanted = (found.required || []).includes(name);
      if (depth < 4 && wanted && !inner.readOnly) out[name] = example(document_, inner, depth + 1);
    }
    return out;
  }
  if (found.type === "integer" || found.type === "number") return found.minimum || 1;
  if (found.type === "boolean") return true;
  if (found.format === "uuid") return "6f1c2a34-0d5e-4b7a-9c8d-1e2f3a4b5c6d";
  if (found.format === "email") return "ada@example.com";
  return "...";
}

function table(rows) {
  const out = element("table");
  const head = out.createTHead().insertRow();
  for (const title of ["Name", "Type", "Description"]) head.append(element("th", title));
  const body = out.createTBody();
  for (const [name, type, description] of rows) {
    const row = body.insertRow();
    const cell = row.insertCell();
    cell.append(element("code", name));
    row.insertCell().textContent = type;
    row.insertCell().textContent = description || "";
  }
  return out;
}

function fields(document_, schema) {
  const found = schemaOf(document_, schema);
  const properties = Object.entries(found.properties || {});
  return properties.map(([name, inner]) => {
    const marks = [];
    if ((found.required || []).includes(name)) marks.push("required");
    if (inner.readOnly) marks.push("only in responses");
    if (inner.writeOnly) marks.push("only in requests");
    const note = marks.length ? " [" + marks.join(", ") + "]" : "";
    return [name, typeOf(inner) + note, inner.description];
  });
}

function curl(document_, verb, path, operation) {
  const parts = ["curl"];
  if (verb !== "get" && verb !== "post") parts.push("-X " + verb.toUpperCase());
  if ((operation.security || []).length) parts.push("-H \"Authorization: Bearer $TOKEN\"");
  const body = operation.requestBody && operation.requestBody.content["application/json"];
  if (body) {
    const json = JSON.stringify(example(document_, body.schema, 0));
    parts.push("--json '" + json.replaceAll("'", "'\\''") + "'");
  }
  parts.push("'" + location.origin + path + "'");
  return parts.join(" ");
}

function section(document_, verb, path, operation) {
  const details = element("details");
  const summary = element("summary");
  summary.append(element("span", verb.toUpperCase(), "verb " + verb), element("code", path), element("span", operation.summary, "dim"));
  const body = element("div", undefined, "body");
  body.append(element("p", operation.description));
  const access = (operation.security || []).length ? "Needs a customer's token." : "Open to anybody.";
  body.append(element("p", access + " gRPC: " + operation["x-grpc-method"], "dim"));
  if (operation.parameters.length) {
    body.append(element("h3", "Parameters"));
    body.append(table(operation.parameters.map((p) => [p.name, p.in + ", " + typeOf(p.schema) + (p.required ? " [required]" : ""), p.description])));
  }
  const request = operation.requestBody && Object.values(operation.requestBody.content)[0];
  if (request && request.schema) {
    body.append(element("h3", "Request body: " + typeOf(request.schema)), table(fields(document_, request.schema)));
  }
  for (const [status, response] of Object.entries(operation.responses)) {
    const content = Object.entries(response.content || {});
    body.append(element("h3", status + " " + response.description));
    if (status === "200" && content.length) {
      body.append(element("p", content.map(([kind]) => kind).join(", "), "dim"));
      const json = response.content["application/json"];
      const rows = json ? fields(document_, json.schema.items || json.schema) : [];
      if (rows.length) body.append(table(rows));
    }
  }
  body.append(element("h3", "Try it"), element("pre", curl(document_, verb, path, operation)));
  details.append(summary, body);
  details.dataset.words = (verb + " " + path + " " + operation.summary).toLowerCase();
  return details;
}

async function show() {
  const main = document.getElementById("operations");
  try {
    const answer = await fetch("/openapi.json");
    const api = await answer.json();
    document.getElementById("title").textContent = api.info.title;
    document.getElementById("about").textContent = api.info.description;
    main.replaceChildren();
    for (const tag of api.tags) {
      main.append(element("h2", tag.name), element("p", tag.description, "dim"));
      for (const [path, item] of Object.entries(api.paths)) {
        for (const [verb, operation] of Object.entries(item)) {
          if (operation.tags.includes(tag.name)) main.append(section(api, verb, path, operation));
        }
      }
    }
  } catch (error) {
    main.replaceChildren(element("p", "The description cannot be loaded: " + error));
  }
}

document.getElementById("search").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase();
  for (const node of document.querySelectorAll("details")) node.hidden = !node.dataset.words.includes(words);
});
show();
