// Requests that got no prediction: how many for which reason, and the latest of them whole.

import { $, h } from "./dom.js";
import { ago, count, time } from "./format.js";

export class LettersView {
  #open = new Set(); // places that somebody has opened: they stay open when the list is drawn anew

  wanted() {
    return { view: "dead-letters" };
  }

  frame({ letters }) {
    if (!letters) return;
    const { reasons, latest, since } = letters;
    $("no-letters").hidden = latest.length > 0;
    const focused = document.activeElement?.closest?.(".letter")?.dataset.place;
    $("letters").replaceChildren(...(latest.length ? [this.#reasons(reasons, since), this.#latest(latest)] : []));
    if (focused) $("letters").querySelector(`[data-place="${CSS.escape(focused)}"] summary`)?.focus();
  }

  #reasons(reasons, since) {
    const most = Math.max(...Object.values(reasons));
    const total = Object.values(reasons).reduce((sum, value) => sum + value, 0);
    const rows = Object.entries(reasons).map(([reason, value]) => {
      const bar = h("div", { class: "bar" });
      bar.style.width = `${(100 * value) / most}%`;
      return h("li", { class: "reason" }, h("span", {}, reason), h("div", { class: "track", "aria-hidden": "true" }, bar), h("span", { class: "count" }, count(value)));
    });
    return h(
      "article",
      { class: "card" },
      h("div", { class: "card-head" }, h("h2", {}, "By reason"), h("p", { class: "muted small" }, `${count(total)} since ${time(since)}`)),
      h("ul", { class: "reasons" }, ...rows),
    );
  }

  #latest(latest) {
    return h("article", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Latest")), ...latest.map((letter) => this.#letter(letter)));
  }

  #letter(letter) {
    const element = h(
      "details",
      { class: "letter", "data-place": letter.place, open: this.#open.has(letter.place) },
      h(
        "summary",
        {},
        h("span", { class: "chip warn" }, letter.reason),
        h("span", { class: "what" }, letter.message),
        h("span", { class: "muted small" }, letter.replayed ? "sent again" : ago(letter.time)),
      ),
      ...content(letter),
    );
    element.addEventListener("toggle", () => (element.open ? this.#open.add(letter.place) : this.#open.delete(letter.place)));
    return element;
  }
}

function content(letter) {
  const facts = [
    ["Why", letter.message],
    ["Came from", letter.source],
    ["Key", letter.key ?? "none"],
    ["Request", letter.request],
    ["Model", `${letter.model} ${letter.version}`],
    ["Lies at", letter.place],
    ["Send again", h("code", {}, `rollcast dead-letters replay ${letter.place}`)],
  ];
  const size = `${count(letter.size)} bytes${letter.cut ? ", cut here" : ""}`;
  return [
    h("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("p", { class: "muted small" }, `The original, ${size}:`),
    h("pre", {}, letter.original ?? "(no value)"),
  ];
}
