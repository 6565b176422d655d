// The mark of a version: its colour, its name, and a broken line where it is a candidate's.

import { colourOf } from "./colours.js";
import { h } from "./dom.js";

export function chip(model, version, track = "stable", label = version) {
  return h(
    "span",
    { class: `chip ${colourOf(model, version)} ${track}`, title: `${model} ${version}, ${track}` },
    h("span", { class: "swatch" }),
    h("span", { class: "name" }, label),
  );
}
