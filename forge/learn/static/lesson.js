// A lesson: text on the left, the live picture on the right; prediction, experiment, check.

import { ask, h, sign } from "./dom.js";
import { draw, LiveChart } from "./pictures.js";
import { field } from "./questions.js";

export async function showLesson(name) {
  const lesson = new Lesson(await ask(`/api/lesson/${encodeURIComponent(name)}`));
  return lesson.page;
}

class Lesson {
  constructor(view) {
    this.view = view;
    this.running = false;
    this.pictures = h("div", { class: "pictures", tabindex: 0, role: "group", "aria-label": "Pictures" }); // scrolls by keys
    this.experiment = h("section", { class: "experiment card", "aria-labelledby": "experiment-title" });
    this.check = h("section", { class: "check", "aria-labelledby": "check-title" });
    this.page = h("div", { class: "lesson" },
      this.text(), this.experiment,
      h("section", { class: "stage", "aria-label": "Result of the experiment" }, this.pictures), this.check);
    this.drawExperiment();
    this.drawPictures();
    this.drawCheck();
    if (view.job) this.through(async () => view.job); // it began before a reload, or in another window
  }

  text() {
    const { view } = this;
    const article = h("article", {});
    article.innerHTML = view.html; // from the lesson's own file, made by the server, which lets no HTML through
    for (const strong of article.querySelectorAll("strong")) {
      if (Object.keys(view.terms).some((term) => strong.textContent.toLowerCase().startsWith(term))) strong.classList.add("term");
    }
    return h("div", { class: "text" },
      h("p", { class: "crumb" }, h("a", { href: "#/" }, "Map"), ` · ${view.phase} · ${view.number}`),
      h("h1", {}, view.title), article,
      h("dl", { class: "terms", "aria-label": "New words" },
        Object.entries(view.terms).map(([term, meaning]) => h("div", {}, h("dt", {}, term), h("dd", {}, meaning)))),
      h("p", { class: "links" }, "In Forge: ", [["code", "the code"], ["config", "a config"], ["why", "the decision"], ["read", "read on"]]
        .map(([key, label], place) => [place ? " · " : "", h("a", { href: `/read/${encodeURI(view.links[key])}`, target: "_blank",
          rel: "noopener", title: view.links[key] }, label)])));
  }

  drawExperiment() {
    const { view } = this;
    const made = view.prediction.made;
    this.status = h("p", { class: "state", role: "status" });
    this.bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Progress of the experiment" });
    this.button = h("button", { class: "button", type: "submit", disabled: made === null }, view.record ? "Run again" : "Run");
    const form = h("form", { onsubmit: (event) => { event.preventDefault(); this.run(); } },
      view.controls.map((control) => this.control(control)),
      h("div", { class: "go" }, this.button, h("span", { class: "quiet" }, `Budget: ${view.budget_s} seconds.`)), this.bar, this.status);
    this.experiment.replaceChildren(
      h("h2", { id: "experiment-title" }, "The experiment"),
      h("p", {}, view.about),
      made === null ? this.predict() : this.predicted(made), form);
    if (made === null) this.status.textContent = "Say first what you expect; then it runs.";
  }

  predict() {
    const { prediction } = this.view;
    const asked = field({ kind: "choice", ask: prediction.ask, choices: prediction.choices }, "prediction");
    const line = h("p", { class: "verdict", role: "status" });
    return h("form", { class: "prediction", onsubmit: async (event) => {
      event.preventDefault();
      const choice = asked.read();
      if (choice === null) { line.textContent = "Choose what you expect; no answer is wrong."; return; }
      try {
        await ask(`/api/lesson/${this.view.id}/predict`, { choice });
        await this.refresh();
      } catch (error) { line.textContent = error.message; return; }
      this.drawExperiment();
      this.experiment.querySelector("form input, form select, form textarea, form button").focus();
    } }, h("h3", {}, "What do you expect?"), asked.element, h("button", { class: "button second", type: "submit" }, "That is what I expect"), line);
  }

  predicted(made) {
    const { prediction, record } = this.view;
    return h("div", { class: "predicted" }, h("p", {}, h("strong", {}, "You expected: "), prediction.choices[made]),
      record ? h("p", { class: "after" }, prediction.after) : null);
  }

  control(control) {
    const id = `control-${control.name}`;
    const value = this.view.record?.controls[control.name] ?? control.start;
    if (control.kind === "pick") {
      return h("div", { class: "control" }, h("label", { for: id }, control.label),
        h("select", { id }, control.options.map((option) => h("option", { selected: option === value }, option))));
    }
    if (control.kind === "words") {
      const input = h(control.lines > 1 ? "textarea" : "input", { id, maxlength: control.max_length, rows: control.lines > 1 ? control.lines : null,
        autocomplete: "off", spellcheck: "false" });
      input.value = value;
      return h("div", { class: "control" }, h("label", { for: id }, control.label), input);
    }
    const shown = h("output", { for: id }, String(value));
    const slider = h("input", { id, type: "range", min: control.min, max: control.max, step: control.step, value,
      oninput: () => { shown.textContent = slider.value; } });
    return h("div", { class: "control slider" }, h("label", { for: id }, control.label), shown, slider);
  }

  values() {
    return Object.fromEntries(this.view.controls.map((control) => {
      const { value } = this.experiment.querySelector(`#control-${control.name}`);
      return [control.name, control.kind === "slider" ? Number(value) : value];
    }));
  }

  run() {
    if (this.running) return;
    this.through(async () => (await ask(`/api/lesson/${this.view.id}/run`, { controls: this.values() })).job);
  }

  /** An experiment from its start, or from where it is, to its end. */
  async through(start) {
    this.busy(true);
    this.status.textContent = "Starting …";
    const began = performance.now();
    try {
      await this.follow(await start(), began);
      await this.refresh();
      this.drawPictures();
      this.drawExperiment();
      this.status.textContent = this.view.record.result.said;
      this.drawCheck();
      dispatchEvent(new Event("learn:changed"));
    } catch (error) {
      this.status.textContent = error.message;
      this.status.classList.add("bad");
    }
    this.busy(false);
    this.button.focus({ preventScroll: true });
  }

  busy(on) {
    this.running = on;
    this.button.disabled = on;
    this.bar.hidden = !on;
    this.bar.value = 0;
    if (on) this.status.classList.remove("bad");
    this.pictures.setAttribute("aria-busy", on);
  }

  /** Until the job's last event. A line that breaks is taken up again by the browser itself. */
  follow(job, began) {
    return new Promise((resolve, reject) => {
      const source = new EventSource(`/api/jobs/${job}`);
      let chart = null;
      let lost = 0;
      source.onmessage = ({ data }) => {
        const event = JSON.parse(data);
        lost = 0;
        if (event.event === "progress") {
          this.bar.value = event.done;
          this.status.textContent = `${event.note} · ${Math.round((performance.now() - began) / 1000)} s`;
        } else if (event.event === "chart") chart = new LiveChart(this.pictures, event);
        else if (event.event === "point" && chart) chart.add(event.series, event.x, event.y);
        else if (event.event === "done") { source.close(); resolve(); }
        else if (event.event === "failed") { source.close(); reject(new Error(event.text)); }
      };
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED || ++lost > 5) {
          source.close();
          reject(new Error("The line to Forge broke. Your progress is safe; run it again."));
        }
      };
    });
  }

  async refresh() {
    this.view = await ask(`/api/lesson/${this.view.id}`);
  }

  drawPictures() {
    const { record } = this.view;
    if (!record) {
      this.pictures.replaceChildren(h("div", { class: "empty" }, h("p", {}, "Here you will see what the experiment does, while it does it.")));
      return;
    }
    this.pictures.replaceChildren(
      h("p", { class: "said" }, record.result.said),
      ...record.result.pictures.map(draw),
      record.result.command ? h("details", { class: "command" }, h("summary", {}, "The same from the command line"),
        h("pre", { class: "scroll", tabindex: 0 }, record.result.command)) : "");
  }

  drawCheck(focus = null) {
    const { view } = this;
    this.check.replaceChildren(
      h("h2", { id: "check-title" }, "Check"),
      ...view.check.map((part) => this.part(part)),
      view.passed ? this.finished() : h("p", { class: "quiet" }, "All of these right, and the next lesson opens."));
    if (focus) this.check.querySelector(focus)?.focus();
  }

  finished() {
    const { next } = this.view;
    const href = next?.id.startsWith("gate-") ? `#/gate/${next.id.slice(5)}` : `#/lesson/${next?.id}`;
    return h("div", { class: "finished notice good", tabindex: -1, role: "status" }, h("p", {}, `Lesson ${this.view.number} is passed.`),
      next ? h("a", { class: "button", href }, `Next: ${next.title}`) : h("a", { class: "button", href: "#/" }, "To the map"));
  }

  part(part, said = null) {
    const done = part.done;
    const card = h("div", { class: `card part ${done ? "right" : ""}`, id: `part-${part.id}` });
    const help = done ? [] : [
      ...part.hints.map((hint, place) => h("p", { class: "hint" }, h("strong", {}, `Hint ${place + 1}: `), hint)),
      part.worked ? h("p", { class: "hint worked" }, h("strong", {}, "The answer, worked out: "), part.worked) : null];
    const outdated = done && part.verdict?.state !== "right"; // a later run, for another question, takes nothing back
    const verdict = said ?? (part.verdict && this.view.record && !outdated ? part.verdict : null);
    const line = verdict ? h("p", { class: `verdict ${verdict.state}`, tabindex: -1, role: "status" },
      `${{ right: "Right. ", wrong: "Not yet. ", untouched: "" }[verdict.state]}${verdict.text}`) : h("p", { class: "verdict", tabindex: -1 });
    const mark = sign(done ? "passed" : "open");
    const also = part.varied && !done ? h("p", { class: "quiet" }, "Another question of the same kind:") : null;
    if (part.kind === "evidence" || done) {
      const tail = part.kind === "evidence" && !done && !verdict ? h("p", { class: "quiet" }, "Answered by your run.") : null;
      card.append(h("p", { class: "ask" }, mark, part.ask, done ? h("span", { class: "hidden" }, " (done)") : ""), ...[line, tail].filter(Boolean), ...help.filter(Boolean));
      return card;
    }
    const asked = field(part, `part-${part.id}-field`);
    card.append(h("form", { onsubmit: (event) => { event.preventDefault(); this.answer(part, asked.read(), line); } },
      ...[also, asked.element].filter(Boolean), h("button", { class: "button second", type: "submit" }, "Check"), line), ...help.filter(Boolean));
    return card;
  }

  async answer(part, answer, line) {
    if (answer === null) { line.textContent = "There is no answer yet."; return; }
    let said;
    try {
      said = await ask(`/api/lesson/${this.view.id}/answer`, { part: part.id, answer });
      await this.refresh();
    } catch (error) { line.textContent = error.message; return; }
    dispatchEvent(new Event("learn:changed"));
    if (said.passed) { this.drawCheck(".finished"); return; }
    const made = this.part(said.part, said);
    this.check.querySelector(`#part-${part.id}`).replaceWith(made);
    made.querySelector(".verdict").focus();
  }
}
