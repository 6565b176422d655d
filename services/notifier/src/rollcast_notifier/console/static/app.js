// Puts the page together: which view is open, what it asks of the server, and who gets what comes.

import { AccuracyView } from "./accuracy.js";
import { AskView } from "./ask.js";
import { LettersView } from "./dead_letters.js";
import { $, notice, setText } from "./dom.js";
import { LiveView } from "./live.js";
import { ModelsView } from "./models.js";
import { Stream } from "./stream.js";

const STATES = { connecting: "Connecting", live: "Connected", lost: "Connecting again" };

const reopen = () => open(current);
const views = {
  live: new LiveView(reopen),
  ask: new AskView(),
  models: new ModelsView(),
  accuracy: new AccuracyView(reopen),
  "dead-letters": new LettersView(),
};
let current = document.body.dataset.view;

const stream = new Stream(
  (frame) => {
    if ("problem" in frame) notice($("problem"), frame.problem && `What is shown may be old. ${frame.problem}`);
    if (frame.mail) views.ask.mail(frame.mail);
    views[current].frame(frame);
  },
  (state) => {
    $("connection").dataset.state = state;
    setText($("connection-text"), STATES[state]);
  },
);

function open(view) {
  views[view].opened?.();
  stream.open(views[view].wanted?.() ?? { view });
}

function show(view) {
  if (!(view in views)) view = "live";
  $(`view-${current}`).hidden = true;
  views[current].left?.();
  current = view;
  const section = $(`view-${view}`);
  section.hidden = false;
  document.body.dataset.view = view;
  setText($("title"), section.dataset.title);
  setText($("lead"), section.dataset.lead);
  document.title = `${section.dataset.title} · Rollcast`;
  for (const tab of document.querySelectorAll(".tab")) {
    if (tab.dataset.view === view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  open(view);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-view]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  if (link.dataset.view !== current) {
    history.pushState(null, "", link.href);
    show(link.dataset.view);
    scrollTo(0, 0);
  }
});
addEventListener("popstate", () => show(location.pathname.slice(1)));
addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", (event) => event.persisted && open(current));

open(current);
