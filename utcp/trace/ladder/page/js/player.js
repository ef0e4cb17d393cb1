// The present step: buttons, slider, playing.

import { element } from "./dom.js";
import { say, withKey } from "./texts.js";

const PACES = [0.25, 0.5, 1, 2, 4];
const PAUSE = 1500; // milliseconds per step at pace 1

export class Player {
  /** `show` is called with the index of the new present rung, and whether it was reached by a step forward. */
  constructor(show) {
    this.show = show;
    this.count = 0;
    this.index = 0;
    this.timer = null;
    this.pace = PACES.indexOf(1);
    const moves = {
      first: () => this.go(0),
      previous: () => this.go(this.index - 1),
      next: () => this.go(this.index + 1),
      play: () => this.toggle(),
      slower: () => this.setPace(this.pace - 1),
      faster: () => this.setPace(this.pace + 1),
    };
    for (const [name, move] of Object.entries(moves)) element(name).addEventListener("click", move);
    element("slider").addEventListener("input", () => this.go(Number(element("slider").value) - 1));
    this.setPace(this.pace);
  }

  /** Begin with another run of `rungs`, at the index nearest to `index`. */
  load(rungs, index) {
    this.stop();
    this.rungs = rungs;
    this.count = rungs.length;
    element("slider").max = Math.max(1, this.count);
    this.move(index, false);
  }

  /** Go to a rung, and stop playing. */
  go(index) {
    this.stop();
    if (this.clamped(index) !== this.index) this.move(index, index === this.index + 1);
  }

  clamped(index) {
    return Math.min(Math.max(0, index), Math.max(0, this.count - 1));
  }

  move(index, forward) {
    this.index = this.clamped(index);
    const rung = this.rungs[this.index];
    const slider = element("slider");
    slider.value = this.index + 1;
    slider.setAttribute("aria-valuetext", say("step_of", { number: this.index + 1, count: this.count }));
    const when = document.createElement("span");
    when.className = "when";
    when.textContent = rung ? `${rung.clock} · ` : "";
    element("number").replaceChildren(when, `${this.count ? this.index + 1 : 0} / ${this.count}`);
    element("first").disabled = element("previous").disabled = this.index === 0;
    element("next").disabled = this.index >= this.count - 1;
    if (rung) this.show(this.index, forward);
  }

  setPace(pace) {
    this.pace = Math.min(Math.max(0, pace), PACES.length - 1);
    element("pace").textContent = `${PACES[this.pace]}×`;
    element("slower").disabled = this.pace === 0;
    element("faster").disabled = this.pace === PACES.length - 1;
    if (this.timer !== null) this.wait();
  }

  toggle() {
    if (this.timer !== null) {
      this.stop();
      return;
    }
    this.move(this.index >= this.count - 1 ? 0 : this.index + 1, true);
    this.wait();
    this.label();
  }

  wait() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.move(this.index + 1, true);
      if (this.index < this.count - 1) this.wait();
      else this.stop();
    }, PAUSE / PACES[this.pace]);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.label();
  }

  /** Say on the button what it does. */
  label() {
    const playing = this.timer !== null;
    const button = element("play");
    button.dataset.label = playing ? "pause" : "play";
    button.setAttribute("aria-label", say(button.dataset.label));
    button.title = withKey(say(button.dataset.label), button);
    button.querySelector("use").setAttribute("href", `#i-${button.dataset.label}`);
  }
}
