// A quiz of several questions: the gate of a phase, or testing out of it.

import { ask, h } from "./dom.js";
import { field } from "./questions.js";

export async function showQuiz(phase, testOut) {
  const view = await ask(`/api/quiz/${encodeURIComponent(phase)}${testOut ? "?test_out=1" : ""}`);
  const page = h("section", { class: "quiz" });
  draw(page, view);
  return page;
}

function draw(page, view) {
  const fields = view.questions.map((question) => field(question));
  const result = h("div", { class: "result", role: "status", tabindex: -1 });
  const button = h("button", { class: "button", type: "submit" }, "Hand in");
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); handIn(page, view, fields, result, button); } },
    h("ol", { class: "questions" }, fields.map((one, place) =>
      h("li", { class: "card", "data-place": place }, one.element, h("p", { class: "verdict" })))),
    button);
  page.replaceChildren(
    h("p", { class: "crumb" }, h("a", { href: "#/" }, "Map"), ` · Phase ${view.phase}: ${view.title}`),
    h("h1", {}, view.test_out ? `Test out of phase ${view.phase}` : `Gate of phase ${view.phase}`),
    h("p", {}, `${view.questions.length} questions, ${view.needed} must be right. ` + (view.test_out
      ? "Pass, and the lessons of this phase count as known." : "It mixes what you have met so far.")),
    view.passed ? h("p", { class: "notice good" }, "You have passed this already. You may try it again.") : null,
    form, result);
}

async function handIn(page, view, fields, result, button) {
  const answers = fields.map((one) => one.read());
  const open = answers.findIndex((answer) => answer === null);
  if (open >= 0) {
    result.replaceChildren(h("p", {}, `Question ${open + 1} has no answer yet.`));
    page.querySelector(`[data-place="${open}"] input`).focus();
    return;
  }
  button.disabled = true;
  let said;
  try {
    said = await ask(`/api/quiz/${view.phase}`, { answers, test_out: view.test_out });
  } catch (error) {
    result.replaceChildren(h("p", { class: "bad" }, error.message));
    button.disabled = false;
    return;
  }
  said.verdicts.forEach((verdict, place) => {
    const card = page.querySelector(`[data-place="${place}"]`);
    card.classList.add(verdict.state);
    card.querySelector(".verdict").textContent = `${verdict.state === "right" ? "Right. " : "Not quite. "}${verdict.text}`;
  });
  page.querySelectorAll("input").forEach((input) => { input.disabled = true; });
  button.hidden = true;
  const on = said.next && !said.next.startsWith("gate-") ? `#/lesson/${said.next}` : "#/";
  result.replaceChildren(
    h("p", { class: said.passed ? "notice good" : "notice" }, `${said.right} of ${said.of} are right. `,
      said.passed ? "Passed." : `${said.needed} are needed. Read what is said above, then try again: the questions change.`),
    said.passed ? h("a", { class: "button", href: on }, "Go on")
      : h("button", { class: "button", type: "button", onclick: () => again(page, view) }, "Try again"));
  result.focus();
  dispatchEvent(new Event("learn:changed"));
}

async function again(page, view) {
  page.replaceWith(await showQuiz(view.phase, view.test_out));
  document.getElementById("main").focus();
}
