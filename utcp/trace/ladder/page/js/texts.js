// The texts of the page, in both languages.

import { element } from "./dom.js";

const TEXTS = JSON.parse(element("texts").textContent);

export const LANGUAGES = ["en", "zh"];

let language = "en";

export const currentLanguage = () => language;

/** Return a text in the present language, with values filled in for {names}. */
export function say(name, values = {}) {
  const text = TEXTS[name];
  if (!text) throw new Error(`no text is called ${name}`);
  return text[language].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** Choose the language, and write all texts that the document's attributes name. */
export function speak(wanted) {
  language = LANGUAGES.includes(wanted) ? wanted : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const one of document.querySelectorAll("[data-text]")) one.textContent = say(one.dataset.text);
  for (const one of document.querySelectorAll("[data-label]")) one.setAttribute("aria-label", say(one.dataset.label));
  for (const one of document.querySelectorAll("button:is([data-label], [data-title])")) {
    one.title = withKey(say(one.dataset.title ?? one.dataset.label), one);
  }
  const other = element("language");
  other.textContent = language === "zh" ? "EN" : "中文";
  other.lang = language === "zh" ? "en" : "zh-CN";
}

/** Return a button's description with its key. */
export const withKey = (text, button) => (button.dataset.key ? `${text} (${button.dataset.key.toUpperCase()})` : text);
