// Small helpers: elements from a tag, attributes and children; requests to the server; short messages.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "polyline", "title"]);

/** An element. Attributes that start with "on" are listeners; null and false ones are left out. */
export function h(tag, attributes = {}, ...children) {
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** What the server says; an error carries its one line, and whether something is locked. */
export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw Object.assign(new Error("Forge does not answer. Is “forge.py learn” still running?"), { locked: false });
  }
  const said = await response.json();
  if (!response.ok || said?.error) throw Object.assign(new Error(said.error), { locked: said.locked });
  return said;
}

let timer;

/** Tell something in a line at the bottom; screen readers say it. */
export function announce(text) {
  const line = document.getElementById("announce");
  line.textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => { line.textContent = ""; }, 8000);
}

/** A number short enough to read. */
export function short(value) {
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.01 ? value.toFixed(2) : value.toPrecision(2);
}

const PATHS = {
  passed: "M5 12.5l4.500 4.500L19 7.500",
  attempted: "M8 12h.01M12 12h.01M16 12h.01",
  open: "M10 7l5 5-5 5",
  locked: "M7 11h10v7H7zM9 11V8.500a3 3 0 0 1 6 0V11",
};

/** The small drawing of a status. */
export function sign(status) {
  return h("svg", { class: "sign", viewBox: "0 0 24 24", "aria-hidden": "true" },
    h("path", { d: PATHS[status === "tested-out" ? "passed" : status] }));
}

export const STATUS = { passed: "passed", "tested-out": "tested out", attempted: "begun", open: "open", locked: "locked" };
