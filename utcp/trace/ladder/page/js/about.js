// The texts of a scene, and what its applications read.

import { element, make, paragraphs } from "./dom.js";
import { say } from "./texts.js";

export function drawAbout(run, catalogue) {
  const scene = catalogue.scenes.find((one) => one.name === run.scene);
  const part = (title, content) => (content.length ? [make("h3", {}, title), ...content] : []);
  element("about").replaceChildren(
    make("h2", {}, run.title),
    ...paragraphs(run.intro),
    ...part(say("conclusion"), paragraphs(run.outro)),
    ...run.exhibits.flatMap(({ title, lines }) => part(title, [make("pre", {}, lines.join("\n"))])),
    ...part(say("sources"), scene?.sources ? paragraphs([scene.sources]) : []),
  );
}
