"use strict";
(() => {
  const { steps, states } = JSON.parse(document.getElementById("data").textContent);
  const element = (id) => document.getElementById(id);
  const ladder = element("ladder");
  const slider = element("slider");
  const groups = steps.map((_, index) => [...ladder.querySelectorAll(`.rung-${index}`)]);
  const pages = [...ladder.querySelectorAll(".page")]; // one in the drawing for wide screens, one in that for phones
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  mark.id = "mark";
  let current = 0; // number from 1; 0 before the first step
  let timer = null;

  const make = (tag, ...content) => {
    const made = document.createElement(tag);
    made.append(...content);
    return made;
  };
  const row = ([name, value]) => make("tr", make("th", name), make("td", value));
  const pair = ([name, value]) => make("div", make("dt", name), make("dd", value));
  const paragraph = (text) => make("p", text);

  function showEnd(name, end, number) {
    const box = document.querySelector(`.end.${name}`);
    const state = box.querySelector(".state");
    state.textContent = end.state === null ? "unknown" : states[end.state];
    state.className = end.state === null ? "state" : `state state-${end.state}`;
    const table = box.querySelector("table");
    table.replaceChildren(...end.facts.map(row));
    table.className = end.known < number ? "old" : "";
    if (end.facts.length && end.known < number) table.prepend(row(["as of step", end.known]));
    const nodes = document.querySelectorAll(`.node-${end.state}`);
    if (nodes.length) {
      // CLOSED has two nodes, for the start and the end of a connection.
      const begins = steps.slice(0, number).every((step) => step[name].state === end.state);
      const node = nodes[begins ? 0 : nodes.length - 1];
      node.classList.add("occupied");
      node.querySelector(`.${name}`).classList.add("here");
    }
    if (end.edge) document.querySelectorAll(`.edge-${end.edge}`).forEach((edge) => edge.classList.add("taken"));
  }

  function highlight() {
    const page = pages.find((one) => one.getClientRects().length);
    if (!page || !steps.length) return;
    page.after(mark);
    const groupsHere = groups[current - 1].filter((group) => page.parentNode.contains(group));
    const boxes = groupsHere.map((group) => group.getBBox()).filter((box) => box.height);
    if (!boxes.length) {
      mark.setAttribute("height", 0);
      return;
    }
    const top = Math.min(...boxes.map((box) => box.y)) - 5;
    const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + 5;
    for (const [key, value] of Object.entries({ x: 0, y: top, width: page.getAttribute("width"), height: bottom - top })) {
      mark.setAttribute(key, value);
    }
    const seen = mark.getBoundingClientRect();
    const frame = ladder.getBoundingClientRect();
    const below = seen.bottom - frame.bottom + 60;
    const above = frame.top - seen.top + 60;
    if (below > 0 || above > 0) ladder.scrollTop += seen.top + seen.height / 2 - (frame.top + frame.height / 2);
  }

  function show(wanted) {
    const number = Math.min(Math.max(1, wanted), steps.length);
    if (!steps.length || number === current) return;
    current = number;
    const step = steps[number - 1];
    groups.forEach((parts, index) => {
      for (const part of parts) {
        part.classList.toggle("past", index < number - 1);
        part.classList.toggle("now", index === number - 1);
      }
    });
    element("heading").textContent = step.heading;
    element("time").textContent = step.time;
    element("said").replaceChildren(...step.said.map(paragraph));
    element("fields").replaceChildren(...step.fields.map(pair));
    document.querySelectorAll(".states .occupied, .states .here, .states .taken").forEach((marked) => {
      marked.classList.remove("occupied", "here", "taken");
    });
    showEnd("client", step.client, number);
    showEnd("server", step.server, number);
    slider.value = number;
    element("number").textContent = `${number} / ${steps.length}`;
    element("first").disabled = element("previous").disabled = number === 1;
    element("next").disabled = number === steps.length;
    highlight();
    history.replaceState(null, "", `#step=${number}`);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    element("play").textContent = "Play";
  }

  function play() {
    if (timer !== null) {
      stop();
      return;
    }
    if (current === steps.length) show(1);
    element("play").textContent = "Pause";
    timer = setInterval(() => {
      show(current + 1);
      if (current === steps.length) stop();
    }, 1500);
  }

  const by = (wanted) => () => {
    stop();
    show(wanted());
  };
  const moves = {
    first: by(() => 1),
    previous: by(() => current - 1),
    next: by(() => current + 1),
    last: by(() => steps.length),
  };
  const keys = {
    ArrowLeft: moves.previous, ArrowUp: moves.previous, PageUp: moves.previous,
    ArrowRight: moves.next, ArrowDown: moves.next, PageDown: moves.next,
    Home: moves.first, End: moves.last, " ": play,
  };
  for (const name of ["first", "previous", "next"]) element(name).addEventListener("click", moves[name]);
  element("play").addEventListener("click", play);
  slider.addEventListener("input", by(() => Number(slider.value)));
  groups.forEach((parts, index) => {
    for (const part of parts) part.addEventListener("click", by(() => index + 1));
  });
  document.addEventListener("keydown", (event) => {
    const move = keys[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === " " && event.target.tagName === "BUTTON") return; // the key activates the button
    event.preventDefault();
    move();
  });
  const fromAddress = () => Number((/^#step=(\d+)$/.exec(location.hash) || [0, 1])[1]);
  window.addEventListener("hashchange", by(fromAddress));
  window.addEventListener("resize", highlight);
  show(fromAddress());
})();
