// The map: six phases of three lessons and a gate, what is open, and why the rest is not.

import { announce, ask, h, sign, STATUS } from "./dom.js";

export async function showMap() {
  const view = await ask("/api/map");
  return h("div", { class: "map" },
    h("section", { class: "hero" },
      h("h1", {}, "From Zero to Forge"),
      h("p", {}, "Eighteen short lessons. Each has a live experiment that runs on this computer in seconds. No prior knowledge needed."),
      next(view),
      view.notice ? h("p", { class: "notice", role: "alert" }, view.notice) : null,
      view.unlocked_all ? h("p", { class: "notice" }, "Everything is unlocked, as asked for by --unlock-all.") : null),
    h("ol", { class: "phases", "aria-label": "The six phases" }, view.phases.map((phase) => phaseCard(phase, view.next))),
    words(view.words));
}

function next(view) {
  const all = view.phases.flatMap((phase) => [...phase.lessons, phase.gate]);
  const entry = all.find((one) => one.id === view.next);
  if (!entry) {
    return view.passed === view.lessons
      ? h("p", { class: "done" }, "You have walked the whole path.") : null;
  }
  const begun = entry.status === "attempted" ? "Go on" : view.passed ? "Next" : "Begin";
  return h("a", { class: "button", href: address(entry), id: "next" }, `${begun}: ${entry.number} ${entry.title}`);
}

function address(entry) {
  return entry.id.startsWith("gate-") ? `#/gate/${entry.id.slice(5)}` : `#/lesson/${entry.id}`;
}

function phaseCard(phase, following) {
  const done = phase.gate.passed;
  return h("li", { class: `phase${phase.locked ? " closed" : ""}${done ? " finished" : ""}` },
    h("h2", {}, h("span", { class: "ordinal" }, phase.number), " ", phase.title),
    phase.locked ? h("p", { class: "why" }, phase.locked) : null,
    h("ol", { class: "nodes" }, [...phase.lessons, phase.gate].map((entry) => h("li", {}, node(entry, following, phase)))),
    phase.test_out ? h("p", { class: "test-out" },
      h("a", { href: `#/test-out/${phase.number}` }, "I know this: test out")) : null);
}

function node(entry, following, phase) {
  const gate = entry.id.startsWith("gate-");
  const face = [
    h("span", { class: "place" }, sign(entry.status)),
    h("span", { class: "number" }, entry.number),
    h("span", { class: "name" }, gate ? "Gate" : entry.title),
    h("span", { class: "status" }, STATUS[entry.status]),
  ];
  const style = `node ${entry.status}${gate ? " gate" : ""}${entry.id === following ? " next" : ""}`;
  if (!entry.locked) {
    return h("a", { class: style, href: address(entry), "data-id": entry.id,
      "aria-current": entry.id === following ? "step" : null }, face);
  }
  const why = phase.locked ? h("span", { class: "hidden" }, entry.locked) : h("span", { class: "why" }, entry.locked);
  return h("button", { class: style, type: "button", "aria-disabled": "true", "data-id": entry.id, title: entry.locked,
    onclick: () => announce(`Locked. ${entry.locked}`) }, face, why);
}

function words(terms) {
  const entries = Object.entries(terms);
  if (!entries.length) return null;
  return h("details", { class: "words" },
    h("summary", {}, `Words so far (${entries.length})`),
    h("dl", {}, entries.map(([term, meaning]) => [h("dt", {}, term), h("dd", {}, meaning)])));
}
