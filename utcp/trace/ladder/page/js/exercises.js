// The exercises: their list, the one that was begun, and whether it is solved.

import { element, icon, make, paragraphs } from "./dom.js";
import { say } from "./texts.js";

const KEY = "solved";

export class ExercisesView {
  /** `begin(exercise)` opens an exercise; null: back to the list. */
  constructor(begin) {
    this.begin = begin;
    this.solved = new Set(stored());
    this.box = element("exercises");
  }

  /** Show the list, or the exercise that was begun with the engine's verdict. Return whether it was solved just now. */
  draw(catalogue, name, verdict) {
    const exercise = catalogue.exercises.find((one) => one.name === name);
    const fresh = Boolean(verdict?.solved) && !this.solved.has(name);
    if (fresh) {
      this.solved.add(name);
      store([...this.solved]);
    }
    if (exercise) this.drawOne(catalogue, exercise, verdict);
    else this.drawList(catalogue);
    return fresh;
  }

  drawList({ exercises }) {
    const done = exercises.filter((one) => this.solved.has(one.name)).length;
    this.box.replaceChildren(
      make("p", {}, say("exercises_done", { done, count: exercises.length })),
      make("ol", {},
        ...exercises.map((one) =>
          make("li", {},
            this.solved.has(one.name) ? make("span", { role: "img", "aria-label": say("solved") }, icon("check", "solved-mark")) : make("span"),
            make("button", { type: "button", class: "link", "data-exercise": one.name, click: () => this.begin(one) }, one.title),
            make("span", { class: "level", role: "img", "aria-label": say("level", { level: one.level }) }, "●".repeat(one.level) + "○".repeat(3 - one.level)),
          ),
        ),
      ),
    );
  }

  drawOne(catalogue, exercise, verdict) {
    const { exercises } = catalogue;
    const next = exercises[exercises.indexOf(exercise) + 1];
    const solved = Boolean(verdict?.solved);
    this.box.replaceChildren(
      make("h3", { class: "title" }, exercise.title),
      ...paragraphs(exercise.text),
      make("div", { class: solved ? "verdict solved" : "verdict", id: "verdict" },
        solved ? make("b", {}, `${say("solved")}. `) : "", verdict?.text ?? say("simulating")),
      make("details", {}, make("summary", {}, say("hint")), make("p", {}, exercise.hint)),
      make("div", { class: "form" },
        make("button", { type: "button", click: () => this.begin(exercise) }, say("again")),
        make("button", { type: "button", click: () => this.begin(null) }, say("all_exercises")),
        next ? make("button", { type: "button", class: solved ? "primary" : null, click: () => this.begin(next) }, say("next_exercise")) : "",
      ),
    );
  }
}

// A browser may forbid storage; then the page forgets what was solved when it is closed.
function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

function store(names) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(names));
  } catch {
    return;
  }
}
