// The reference page: draws /openapi.json. Text is only ever set as text, so nothing in the document can become markup.

const METHODS = ["options", "get", "head", "post", "put", "patch", "delete"];
let reference;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

/** `code`, paragraphs and lists: as much Markdown as the document has. */
function prose(text) {
  return (text ?? "").split(/\n\n+/).filter(Boolean).map((block) => {
    const lines = block.split("\n");
    if (lines.every((line) => line.startsWith("- "))) {
      return element("ul", {}, ...lines.map((line) => element("li", {}, ...inline(line.slice(2)))));
    }
    return element("p", {}, ...inline(lines.join(" ")));
  });
}

function inline(text) {
  return text.split("`").map((piece, index) => (index % 2 ? element("code", {}, piece) : piece));
}

function resolved(value) {
  let found = value;
  while (found?.$ref) {
    found = found.$ref.slice(2).split("/").reduce((part, name) => part[name], reference);
  }
  return found;
}

function nameOf(schema) {
  return schema.$ref ? schema.$ref.split("/").at(-1) : null;
}

/** One line that says what a value is. */
function kind(schema) {
  if (schema.allOf) return kind(schema.allOf[0]);
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return either.map(kind).join(" or ");
  const named = nameOf(schema);
  if (named) return named;
  if (schema.enum) return schema.enum.length > 12 ? `one of ${schema.enum.length} words` : schema.enum.join(" | ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? {})}`;
  if (schema.contentMediaType === "application/octet-stream") return "bytes";
  const values = typeof schema.additionalProperties === "object" ? schema.additionalProperties : null;
  if (schema.type === "object" && values?.type) return `map of ${values.type}s`;
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : (schema.type ?? "anything");
  const range = [
    schema.minimum !== undefined ? `at least ${schema.minimum}` : "",
    schema.maximum !== undefined ? `at most ${schema.maximum}` : "",
    schema.default !== undefined ? `default ${schema.default}` : "",
  ].filter(Boolean);
  return [schema.format ? `${type} (${schema.format})` : type, ...range].join(", ");
}

/** The schemas with members of their own that a schema leads to. */
function structures(schema) {
  if (!schema) return [];
  const inner = [...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])];
  if (inner.length) return inner.flatMap(structures);
  if (schema.items) return structures(schema.items);
  const whole = resolved(schema);
  if (typeof whole.additionalProperties === "object" && !whole.properties) return structures(whole.additionalProperties);
  return whole.properties && (schema.$ref || whole.type === "object") ? [schema] : [];
}

/** A structure opens when it is asked for: they hold each other. */
function shapes(schema) {
  return structures(schema).map((one) => {
    const box = element("details", { class: "shape" }, element("summary", {}, nameOf(one) ?? "Members"));
    box.addEventListener("toggle", () => { if (box.children.length === 1) box.append(...members(resolved(one))); });
    return box;
  });
}

function members(schema) {
  const needed = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties).flatMap(([name, value]) =>
    entry(name, value, needed.has(name), value.description ?? ""));
  return [...prose(schema.description), element("dl", {}, ...rows)];
}

function entry(name, schema, needed, description, where = "") {
  const mark = needed && where !== "path" ? element("small", { class: "needed" }, " needed") : "";
  return [
    element("dt", {}, name, " ", element("small", {}, [where, kind(schema)].filter(Boolean).join(" · ")), mark),
    element("dd", {}, ...prose(description), ...shapes(schema)),
  ];
}

function parameters(item, operation) {
  const all = [...(operation.parameters ?? []), ...(item.parameters ?? [])].map(resolved);
  const forms = (where, test) => all.filter((one) => test(one) && one.in === where);
  const isOption = (one) => one.in === "header" ? one.name.startsWith("Bucketline-")
    : all.some((other) => other.name.toLowerCase() === `bucketline-${one.name.replaceAll("_", "-")}`);
  const rows = (list) => list.flatMap((one) => entry(one.name, one.schema, one.required, one.description, one.in));
  const own = all.filter((one) => !isOption(one));
  const options = [...forms("query", isOption), ...forms("header", isOption)];
  return [
    ...(own.length ? [element("h3", {}, "Parameters"), element("dl", {}, ...rows(own))] : []),
    ...(options.length ? [element("details", { class: "more" },
      element("summary", {}, `Options: ${options.length / 2}, as query parameter or as header`),
      element("dl", {}, ...rows(options)))] : []),
  ];
}

function contents(content) {
  return Object.entries(content ?? {}).flatMap(([media, { schema }]) => [
    element("p", {}, element("code", {}, media), element("small", {}, ` ${kind(schema)}`)),
    ...shapes(schema),
  ]);
}

function body(operation) {
  const asked = operation.requestBody;
  return asked ? [element("h3", {}, "Body"), ...prose(asked.description), ...contents(asked.content)] : [];
}

function answer([status, told]) {
  const headers = Object.keys(told.headers ?? {}).join(", ");
  return [
    element("dt", {}, status),
    element("dd", {}, ...prose(told.description), ...contents(told.content),
      headers ? element("p", { class: "quiet" }, `Headers: ${headers}`) : ""),
  ];
}

function answers(operation) {
  const all = Object.entries(operation.responses).map(([status, told]) => [status, resolved(told)]);
  const fine = all.filter(([status]) => status < "400"), refused = all.filter(([status]) => status >= "400");
  return [
    element("h3", {}, "Answers"),
    element("dl", {}, ...fine.flatMap(answer)),
    element("details", { class: "more" }, element("summary", {}, `Refusals: ${refused.map(([s]) => s).join(", ")}`),
      element("dl", {}, ...refused.flatMap(answer))),
  ];
}

function drawn(path, method, item) {
  const operation = item[method];
  const open = operation.security?.length ? "" : element("p", { class: "quiet" }, "Needs no key.");
  const head = item.head && method === "get" ? element("p", { class: "quiet" }, "HEAD is the same without content.") : "";
  const inside = element("div", { class: "inside" });
  const box = element("details", { class: "operation", id: operation.operationId },
    element("summary", {}, element("span", { class: `method ${method}` }, method.toUpperCase()),
      element("code", { class: "path" }, path), element("span", { class: "quiet" }, operation.summary)), inside);
  box.addEventListener("toggle", () => {
    if (box.open && !inside.children.length) {
      inside.append(...prose(operation.description), open, head, ...parameters(item, operation), ...body(operation),
        ...answers(operation));
    }
  });
  box.dataset.words = `${method} ${path} ${operation.summary} ${operation.description ?? ""}`.toLowerCase();
  return box;
}

function draw() {
  const main = document.querySelector("main"), index = document.querySelector("#index");
  document.querySelector("#version").textContent = reference.info.version;
  main.replaceChildren(...prose(reference.info.description));
  for (const tag of reference.tags) {
    const boxes = Object.entries(reference.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method]?.tags.includes(tag.name) && !(method === "head" && item.get)).map((method) => drawn(path, method, item)));
    main.append(element("section", {}, element("h2", {}, tag.name), ...prose(tag.description), ...boxes));
    const links = boxes.map((box) => element("li", {}, element("a", { href: `#${box.id}` },
      box.querySelector("summary").lastElementChild.textContent)));
    index.append(element("section", {}, element("h2", {}, tag.name), element("ul", {}, ...links)));
  }
}

function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const box of document.querySelectorAll("details.operation")) {
    box.hidden = !words.every((word) => box.dataset.words.includes(word));
    document.querySelector(`nav a[href="#${box.id}"]`).parentElement.hidden = box.hidden;
  }
  for (const section of document.querySelectorAll("main section, nav section")) {
    section.hidden = !section.querySelector("details.operation:not([hidden]), li:not([hidden])");
  }
}

function show() {
  const box = document.getElementById(location.hash.slice(1));
  if (!box?.matches("details.operation")) return;
  box.open = true;
  box.scrollIntoView();
  box.querySelector("summary").focus({ preventScroll: true });
}

async function begin() {
  try {
    const found = await fetch("/openapi.json");
    if (!found.ok) throw new Error(`it answered ${found.status}`);
    reference = await found.json();
    draw();
  } catch (error) {
    document.querySelector("#state").textContent = `/openapi.json cannot be drawn: ${error.message}`;
    return;
  }
  const search = document.querySelector("#search");
  search.addEventListener("input", () => filter(search.value));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      search.focus();
    }
  });
  window.addEventListener("hashchange", show);
  show();
}

begin();
