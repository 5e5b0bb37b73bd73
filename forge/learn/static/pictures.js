// The closed set of pictures that experiments come to: lines, heat, bars, table, diff, text. Plain SVG and HTML.

import { h, short } from "./dom.js";

const HEIGHT = 225;
const EDGE = { left: 66, right: 16, top: 14, bottom: 40 };

/** Units of a drawing's width: pixels where the window is narrow, so that letters keep their size. */
function room() {
  return Math.max(260, Math.min(560, document.getElementById("main").clientWidth - 66));
}

/** A picture as a figure with its title; what it shows is also said in words. */
export function draw(picture) {
  const body = DRAWERS[picture.kind](picture);
  return h("figure", { class: `picture ${picture.kind}` },
    h("figcaption", {}, picture.title), body,
    picture.note ? h("p", { class: "note" }, picture.note) : null);
}

/** A line chart that grows: what an experiment sends while it goes. */
export class LiveChart {
  constructor(place, { title, x, y, longest }) {
    this.picture = { kind: "lines", title, x, y, series: [], marks: [], longest };
    this.place = place;
    this.asked = false;
    this.draw();
  }

  add(name, x, y) {
    let series = this.picture.series.find((one) => one.name === name);
    if (!series) this.picture.series.push(series = { name, points: [] });
    series.points.push([x, y]);
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; this.draw(); });
  }

  draw() {
    this.place.replaceChildren(draw(this.picture));
  }
}

function lines(picture) {
  const width = room();
  const points = picture.series.flatMap((series) => series.points);
  const ends = [picture.low, picture.high].filter((edge) => typeof edge === "number");
  const [left, right] = span([...points.map(([x]) => x), ...(picture.longest ? [0, picture.longest] : [])]);
  const [low, high] = span([...points.map(([, y]) => y), ...ends], ends.length < 2);
  const x = (value) => EDGE.left + ((value - left) / (right - left)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const floor = HEIGHT - EDGE.bottom;
  const parts = [
    ticks(low, high, 4).map((value) => [
      h("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
      h("text", { class: "tick", x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, short(value))]),
    ticks(left, right, width > 400 ? 5 : 3).map((value) =>
      h("text", { class: "tick", x: x(value), y: floor + 17, "text-anchor": "middle" }, short(value))),
    (picture.marks ?? []).map((mark) => [
      h("line", { class: "mark", x1: x(mark.x), x2: x(mark.x), y1: EDGE.top, y2: floor }),
      h("text", { class: "tick", x: x(mark.x) - 4, y: EDGE.top + 9, "text-anchor": "end" }, mark.label)]),
    h("text", { class: "axis", x: (EDGE.left + width) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, picture.x),
    h("text", { class: "axis", x: 0, y: 0, "text-anchor": "middle",
      transform: `translate(12 ${(EDGE.top + floor) / 2}) rotate(-90)` }, picture.y),
    picture.series.map((series, place) => curve(series, place, x, y)),
  ];
  const said = picture.series.filter((series) => series.points.length).map((series) =>
    `${series.name}: from ${short(series.points[0][1])} to ${short(series.points.at(-1)[1])}`).join("; ");
  return [
    h("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${picture.title}. ${said || "no points yet"}` }, parts),
    picture.series.length ? h("p", { class: "legend" }, picture.series.map((series, place) => [
      h("span", { class: `key c${place % 5}` }), `${series.name}: ${series.points.length ? short(series.points.at(-1)[1]) : ""} `])) : null,
  ];
}

function curve(series, place, x, y) {
  if (!series.points.length) return null;
  const [lastX, lastY] = series.points.at(-1);
  return h("g", { class: `c${place % 5}` },
    h("polyline", { class: "curve", points: series.points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ") }),
    series.points.length <= 12 ? series.points.map(([a, b]) => h("circle", { class: "dot", cx: x(a), cy: y(b), r: 3 })) : null,
    h("circle", { class: "dot last", cx: x(lastX), cy: y(lastY), r: 5 }));
}

function heat(picture) {
  const width = room();
  const most = Math.max(...picture.values.flat().map(Math.abs), 1e-9);
  const wide = Math.min(width * 0.36, 16 + 7 * Math.max(...picture.rows.map((name) => name.length)));
  const cell = (width - wide) / picture.columns.length;
  const tall = Math.min(Math.max(cell, 18), 34);
  const slanted = picture.columns.some((name) => name.length * 6.5 > cell * Math.max(1, Math.ceil(15 / cell)));
  const top = slanted ? 20 + 4.6 * Math.max(...picture.columns.map((name) => name.length)) : 24;
  const height = top + tall * picture.rows.length + 4;
  const every = Math.ceil(15 / cell); // names of columns that are too close to each other are left out
  const parts = picture.columns.map((name, place) => {
    if (place % every) return null;
    const at = wide + cell * (place + 0.5);
    return h("text", slanted
      ? { class: "tick", transform: `translate(${at - 2} ${top - 6}) rotate(-42)` }
      : { class: "tick", x: at, y: top - 8, "text-anchor": "middle" }, name);
  });
  picture.rows.forEach((name, row) => {
    parts.push(h("text", { class: "tick", x: wide - 8, y: top + tall * (row + 0.5) + 4, "text-anchor": "end" }, name));
    picture.values[row].forEach((value, column) => {
      const share = Math.abs(value) / most;
      parts.push(h("rect", { class: value < 0 ? "cell below" : "cell", x: wide + cell * column + 1, y: top + tall * row + 1,
        width: cell - 2, height: tall - 2, rx: 3, "fill-opacity": (0.06 + 0.94 * share).toFixed(3) },
      h("title", {}, `${name}, ${picture.columns[column]}: ${short(value)}`)));
      if (picture.show_values) {
        parts.push(h("text", { class: share > 0.55 ? "value inside" : "value", x: wide + cell * (column + 0.5),
          y: top + tall * (row + 0.5) + 4, "text-anchor": "middle" }, value.toFixed(2)));
      }
    });
  });
  const said = picture.rows.map((name, row) => {
    const best = picture.values[row].reduce((a, b, i, all) => (Math.abs(b) > Math.abs(all[a]) ? i : a), 0);
    return `${name}: most at ${picture.columns[best]}, ${short(picture.values[row][best])}`;
  }).join("; ");
  return h("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${picture.title}. ${said}` }, parts.filter(Boolean));
}

function bars(picture) {
  const width = room();
  const wide = Math.min(width * 0.4, 16 + 7.2 * Math.max(...picture.bars.map((bar) => bar.label.length)));
  const tall = 30;
  const long = width - wide - 60;
  const said = picture.bars.map((bar) => `${bar.label} ${short(bar.value)}`).join(", ");
  return h("svg", { viewBox: `0 0 ${width} ${tall * picture.bars.length + 4}`, role: "img", "aria-label": `${picture.title}. ${said}` },
    picture.bars.map((bar, place) => {
      const length = long * Math.min(Math.max(bar.value / picture.most, 0), 1);
      return [
        h("text", { class: bar.strong ? "label strong" : "label", x: wide - 8, y: tall * (place + 0.5) + 5, "text-anchor": "end" }, bar.label),
        h("rect", { class: "track", x: wide, y: tall * place + 5, width: long, height: tall - 10, rx: 4 }),
        h("rect", { class: bar.strong ? "bar strong" : "bar", x: wide, y: tall * place + 5, width: Math.max(length, 2), height: tall - 10, rx: 4 }),
        h("text", { class: bar.strong ? "label strong" : "label", x: wide + long + 8, y: tall * (place + 0.5) + 5 },
          picture.most === 1 ? `${Math.round(100 * bar.value)}%` : short(bar.value)),
      ];
    }));
}

function table(picture) {
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": picture.title },
    h("table", {},
      h("thead", {}, h("tr", {}, picture.header.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, picture.rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))));
}

function diff(picture) {
  const tags = { same: "span", gone: "del", new: "ins" };
  return h("p", { class: "pieces" }, picture.pieces.map(([kind, text]) => [h(tags[kind], {}, text), " "]));
}

function text(picture) {
  return h("pre", { class: "scroll", tabindex: 0 }, picture.text);
}

function span(values, padded = false) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (!values.length) return [0, 1];
  if (low === high) return [low - 0.5, high + 0.5];
  const pad = padded ? (high - low) * 0.06 : 0;
  return [low - pad, high + pad];
}

/** Round values between two ends, about so many. */
function ticks(low, high, about) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw);
  const out = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) out.push(Math.round(value / step) * step);
  return out;
}

const DRAWERS = { lines, heat, bars, table, diff, text };
