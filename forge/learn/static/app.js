// Which view the address asks for. Views draw what the server says and decide nothing.

import { announce, ask, h } from "./dom.js";
import { showLesson } from "./lesson.js";
import { showMap } from "./map.js";
import { showQuiz } from "./quiz.js";

const main = document.getElementById("main");
let shown = 0;
let known = ""; // the map as it was last told

/** The view of the present address, drawn anew. */
async function show() {
  const turn = ++shown;
  const [, kind = "", name = ""] = location.hash.split("/");
  try {
    const view = await draw(kind, decodeURIComponent(name));
    if (turn !== shown) return; // the learner went on meanwhile
    main.replaceChildren(view);
  } catch (error) {
    if (turn !== shown) return;
    main.replaceChildren(refusal(error));
  }
  document.title = kind ? `${main.querySelector("h1").textContent} · From Zero to Forge` : "From Zero to Forge";
  scrollTo(0, 0);
  await progress();
  // Who is quick with the keyboard is in the view already, and stays where they are.
  if (turn > 1 && turn === shown && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
}

function draw(kind, name) {
  if (kind === "lesson") return showLesson(name);
  if (kind === "gate") return showQuiz(name, false);
  if (kind === "test-out") return showQuiz(name, true);
  return showMap();
}

function refusal(error) {
  const { locked } = error;
  return h("section", { class: "refusal" },
    h("h1", {}, locked ? "This is still locked" : "This did not work"),
    h("p", { role: "alert" }, error.message),
    h("p", {}, h("a", { class: "button", href: "#/" }, "To the map")));
}

/** The bar in the header. */
async function progress() {
  try {
    const view = await ask("/api/map");
    const { passed, lessons } = view;
    known = JSON.stringify(view);
    const share = h("svg", { viewBox: "0 0 100 8", "aria-hidden": "true", preserveAspectRatio: "none" },
      h("rect", { class: "track", width: 100, height: 8, rx: 4 }),
      h("rect", { class: "fill", width: (100 * passed) / lessons, height: 8, rx: 4 }));
    document.getElementById("progress").replaceChildren(h("span", {}, `${passed} of ${lessons}`), share);
  } catch {
    // the view has told it already
  }
}

addEventListener("hashchange", show);
addEventListener("learn:changed", progress);
// Another window, or the terminal, may have gone on meanwhile.
addEventListener("focus", async () => {
  if (!["", "#/", "#"].includes(location.hash)) return;
  try {
    if (JSON.stringify(await ask("/api/map")) !== known) show();
  } catch (error) {
    announce(error.message);
  }
});
show();
