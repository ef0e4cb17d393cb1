// Elements of the document.

const SVG = "http://www.w3.org/2000/svg";

export const element = (id) => document.getElementById(id);

/** Return an element with attributes (those with a function are listeners) and content. */
export function make(tag, attributes = {}, ...content) {
  const made = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...content.filter((one) => one !== null && one !== undefined));
  return made;
}

export function icon(name, className = null) {
  return make("svg:svg", { class: className, "aria-hidden": "true" }, make("svg:use", { href: `#i-${name}` }));
}

export const paragraphs = (texts) => texts.map((text) => make("p", {}, text));

/** Have a screen reader read a text. */
export function announce(text) {
  element("live").textContent = text;
}

/** Show a sentence above the ladder until it is dismissed or something else happens; null: none. */
export function tell(text, done = false) {
  const box = element("message");
  box.hidden = text === null;
  box.classList.toggle("done", done);
  box.querySelector("p").textContent = text ?? "";
}
