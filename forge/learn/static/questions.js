// Questions as forms: a choice, a number, a text. What counts is decided by the server.

import { h } from "./dom.js";

let count = 0;

/** The field of a question and a function that reads its answer; null while there is none. */
export function field(question, name = `q${++count}`) {
  if (question.kind === "choice") {
    const options = question.choices.map((text, place) =>
      h("label", { class: "option" }, h("input", { type: "radio", name, value: place }), h("span", {}, text)));
    const set = h("fieldset", { class: "options" }, h("legend", {}, question.ask), options);
    return { element: set, read: () => {
      const chosen = set.querySelector("input:checked");
      return chosen ? Number(chosen.value) : null;
    } };
  }
  const input = h("input", { id: name, type: "text", autocomplete: "off", spellcheck: "false", maxlength: 200,
    inputmode: question.kind === "number" ? "decimal" : null, class: question.kind });
  const element = h("div", { class: "typed" }, h("label", { for: name }, question.ask), input);
  return { element, read: () => input.value.trim() || null };
}
