"use strict";
// Maps: one cell can be reached with Tab, arrows go on from there; what a cell says is written above its map.
for (const map of document.querySelectorAll("table.heat")) {
  const readout = map.closest("fieldset")?.querySelector(".readout");
  const rows = [...map.rows].map((row) => [...row.cells].filter((cell) => cell.title)).filter((row) => row.length);
  rows.forEach((row, y) => row.forEach((cell, x) => {
    const told = cell.title;
    cell.tabIndex = x + y ? -1 : 0;
    cell.setAttribute("aria-label", told);
    if (!readout) return;
    cell.removeAttribute("title");
    for (const event of ["mouseenter", "focus"]) cell.addEventListener(event, () => { readout.textContent = told; });
  }));
  map.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const y = rows.findIndex((row) => row.includes(event.target));
    if (!step || y < 0) return;
    const next = (rows[y + step[0]] || [])[rows[y].indexOf(event.target) + step[1]];
    event.preventDefault();
    if (!next) return;
    [event.target.tabIndex, next.tabIndex] = [-1, 0];
    next.focus();
  });
}

// Examples: columns say what their values are; filters and order live in the address, so that a view can be sent on.
const source = document.getElementById("examples");
if (source) {
  const PAGE = 100, { columns, rows } = JSON.parse(source.textContent);
  const form = document.getElementById("filters"), table = document.getElementById("example-table");
  const make = (tag, text, settings = {}) => Object.assign(document.createElement(tag), { textContent: text }, settings);
  const textOf = (value) => (Array.isArray(value) ? value.join("") : value === null ? "" : String(value));
  const wordOf = (column, value) => (column.values ? column.values[value] ?? "" : textOf(value));
  let shown = PAGE;
  const field = (name, control) => { const label = make("label", name); control.ariaLabel = name; label.append(control); form.append(label); };
  columns.forEach((column, at) => {
    if (column.kind !== "choice") return;
    const select = make("select", "", { name: `c${at}` });
    select.append(make("option", "all", { value: "" }));
    column.values.forEach((word) => select.append(make("option", word, { value: word })));
    field(column.name, select);
  });
  const order = make("select", "", { name: "sort" });
  order.append(make("option", "as they are", { value: "" }));
  columns.forEach((column, at) => { if (column.kind !== "maps") order.append(make("option", column.name, { value: at })); });
  field("text has", make("input", "", { type: "search", name: "q", placeholder: "words" }));
  field("in order of", order);
  field("falling", make("input", "", { type: "checkbox", name: "down", value: "1" }));

  const state = () => new URLSearchParams(location.hash.slice(1));
  const put = (changes) => {
    const next = state();
    for (const [key, value] of Object.entries(changes)) value ? next.set(key, value) : next.delete(key);
    history.replaceState(null, "", `#${next}`);
    anew();
  };

  const chosen = (asked) => {
    const wanted = [...asked].filter(([key, value]) => value && /^c\d+$/.test(key) && columns[key.slice(1)]);
    const words = (asked.get("q") || "").toLowerCase();
    return rows.filter((row) =>
      wanted.every(([key, value]) => wordOf(columns[key.slice(1)], row[key.slice(1)]) === value) &&
      (!words || columns.some((one, at) => /text|diff/.test(one.kind) && textOf(row[at]).toLowerCase().includes(words))));
  };
  const ordered = (found, at, down) => {
    const column = columns[at];
    if (!column) return found;
    const key = (row) => (column.kind === "number" ? row[at] : wordOf(column, row[at]));
    return [...found].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === y || x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : 1) * (down ? -1 : 1);
    });
  };

  const numberOf = (column, value) => (value === null ? "–" : value.toFixed(column.digits));
  const cellOf = (column, row, at) => {
    const cell = make("td", "", { className: column.kind }), inner = make("span", ""), value = row[at];
    cell.dataset.name = column.name;
    cell.append(inner);
    if (column.kind === "diff") value.forEach((part, place) => inner.append(place % 2 ? make("mark", part) : part));
    else inner.append(column.kind === "number" ? numberOf(column, value) : wordOf(column, value));
    const aside = make("small", column.sure ? ` ${numberOf(columns[column.sure], row[column.sure])}` : "");
    if (column.truth && wordOf(column, value) !== wordOf(columns[column.truth], row[column.truth]))
      aside.append(make("b", " ✗", { title: "not the truth" }));
    inner.append(" ", aside);
    return cell;
  };
  const mapOf = ({ name, tokens, weights }) => {
    const box = make("details", ""), inner = make("table", "", { className: "heat" });
    box.append(make("summary", name));
    box.addEventListener("toggle", () => {
      if (inner.rows.length) return;
      weights.forEach((row, y) => {
        const line = inner.insertRow();
        line.append(make("th", tokens[y], { scope: "row" }));
        row.forEach((weight, x) => line.append(make("td", "", {
          className: `h${Math.round((weight / 255) * 20)}`, title: `${tokens[y]} → ${tokens[x]}: ${(weight / 255).toFixed(2)}` })));
      });
    });
    box.append(inner);
    return box;
  };

  const draw = () => {
    const asked = state(), at = asked.get("sort") ? Number(asked.get("sort")) : -1, down = asked.get("down") === "1";
    for (const one of form.elements) one.type === "checkbox" ? (one.checked = down) : one.name && (one.value = asked.get(one.name) || "");
    const found = ordered(chosen(asked), at, down), body = table.tBodies[0];
    for (const head of table.tHead.rows[0].cells)
      head.setAttribute("aria-sort", Number(head.dataset.at) !== at ? "none" : down ? "descending" : "ascending");
    body.replaceChildren(...found.slice(0, shown).flatMap((row) => {
      const line = make("tr", ""), below = make("tr", "", { className: "below" });
      columns.forEach((column, place) => { if (!column.hidden) line.append(cellOf(column, row, place)); });
      const maps = columns.flatMap((column, place) => (column.kind === "maps" && row[place]) || []);
      if (!maps.length) return [line];
      below.append(make("td", "", { colSpan: line.cells.length }));
      below.cells[0].append(...maps.map(mapOf));
      return [line, below];
    }));
    const some = Math.min(shown, found.length).toLocaleString("en"), all = found.length.toLocaleString("en");
    document.getElementById("count").textContent = `${some} of ${all} that match are shown.`;
    document.getElementById("more").hidden = found.length <= shown;
  };

  const by = (at, turn) => {  // numbers begin with the largest
    const down = turn ? state().get("down") !== "1" : at !== "" && columns[at].kind === "number";
    put({ sort: at, down: down ? "1" : "" });
  };
  const heads = table.createTHead().insertRow();
  columns.forEach((column, at) => {
    if (column.hidden) return;
    const head = make("th", "", { scope: "col" }), button = make("button", column.name, { type: "button" });
    head.dataset.at = at;
    button.addEventListener("click", () => by(String(at), state().get("sort") === String(at)));
    head.append(button);
    heads.append(head);
  });
  form.addEventListener("input", ({ target }) => {
    if (target.name === "sort") by(target.value, false);
    else put({ [target.name]: target.type === "checkbox" ? (target.checked ? "1" : "") : target.value });
  });
  const anew = () => { shown = PAGE; draw(); };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => { event.preventDefault(); history.replaceState(null, "", "#"); anew(); });
  document.getElementById("more").addEventListener("click", () => { shown += PAGE; draw(); });
  addEventListener("hashchange", anew);
  draw();
}
