// The stream of predictions: a bounded table, drawn with the screen's own rhythm.

import { AreaChart } from "./area_chart.js";
import { chip } from "./chip.js";
import { colourOf } from "./colours.js";
import { $, h, setOptions, setText } from "./dom.js";
import { count, featuresLine, milliseconds, parsed, percent, prediction, time } from "./format.js";

const MOST_ROWS = 40;
const TYPING_MS = 300;
const CALM_ROWS = 3;
const MOST_VERSIONS = 50;

export class LiveView {
  #waiting = []; // rows to draw, newest first
  #drawing = false;
  #held = false; // the pointer or the focus is on the table
  #paused = false;
  #rows = [];
  #typing = null;

  constructor(reopen) {
    this.body = $("predictions").tBodies[0];
    this.chart = new AreaChart($("rates"), $("rates-legend"));
    this.filters = $("filters");
    this.models = new Map(); // model -> versions seen
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    this.filters.addEventListener("change", () => this.#changed(reopen));
    $("filter-text").addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#changed(reopen), TYPING_MS);
    });
    $("pause").addEventListener("click", () => {
      this.#paused = !this.#paused;
      $("pause").setAttribute("aria-pressed", String(this.#paused));
      setText($("pause"), this.#paused ? "Go on" : "Pause");
      this.#draw();
    });
    // Nobody can press what moves away.
    const hold = (held) => () => {
      this.#held = held;
      this.#draw();
    };
    this.body.addEventListener("pointerenter", hold(true));
    this.body.addEventListener("pointerleave", hold(false));
    this.body.addEventListener("focusin", hold(true));
    this.body.addEventListener("focusout", hold(false));
  }

  wanted() {
    const { model, version, track, text } = Object.fromEntries(new FormData(this.filters));
    return { view: "live", model, version, track, text: text.trim() };
  }

  #changed(reopen) {
    clearTimeout(this.#typing);
    const key = JSON.stringify(this.wanted());
    if (key === this.key) return;
    this.key = key;
    reopen();
  }

  opened() {
    this.key = JSON.stringify(this.wanted());
    this.#waiting = [];
    this.#rows = [];
    this.body.replaceChildren();
    $("no-predictions").hidden = false;
    setText($("sample-note"), "\u00a0");
  }

  frame(frame) {
    if (frame.history) this.chart.begin(frame.history);
    if (frame.predictions) this.#take(frame.predictions);
    if (frame.pulse) this.#pulse(frame.pulse);
  }

  #take({ rows, matched }) {
    // What a hidden page cannot draw is not kept for it either.
    this.#waiting = [...rows, ...this.#waiting].slice(0, MOST_ROWS);
    // Stable ones first: colours are given in this order.
    for (const row of [...rows].sort((a, b) => (a.track < b.track) - (a.track > b.track))) this.#know(row);
    this.#offer();
    this.matched = matched;
    this.#draw();
  }

  #draw() {
    if (this.#drawing || !this.#waiting.length || this.#held || this.#paused) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.#held || this.#paused) return;
      const fresh = this.#waiting;
      this.#waiting = [];
      // A mark on what is new says something only where not everything is new.
      const isCalm = this.#rows.length > 0 && fresh.length <= CALM_ROWS;
      // The oldest nodes become the newest: the table never grows.
      for (const row of fresh.reverse()) {
        const node = this.#rows.length < MOST_ROWS ? newRow() : this.#rows.pop();
        fill(node, row);
        if (isCalm) restart(node);
        else node.tr.classList.remove("new");
        this.#rows.unshift(node);
        this.body.prepend(node.tr);
      }
      $("no-predictions").hidden = true;
    });
  }

  #pulse(pulse) {
    const { model, version, track, text } = this.wanted();
    const wanted = pulse.series.filter(
      (s) => (!model || s.model === model) && (!version || s.version === version) && (!track || s.track === track),
    );
    this.chart.add({ ...pulse, series: wanted });
    const rate = wanted.reduce((sum, s) => sum + s.rate, 0);
    const candidate = wanted.reduce((sum, s) => sum + (s.track === "candidate" ? s.rate : 0), 0);
    figure($("rate"), count(rate));
    setText($("rate-note"), wanted.length === pulse.series.length ? "all models" : "as filtered");
    if (pulse.latency) {
      figure($("latency"), ...milliseconds(pulse.latency.p50));
      const [p95, p99] = [pulse.latency.p95, pulse.latency.p99].map((ms) => milliseconds(ms).join(" "));
      setText($("latency-note"), `p95 ${p95}, p99 ${p99}`);
    } else {
      figure($("latency"), "–");
      setText($("latency-note"), "quiet just now");
    }
    figure($("share"), rate ? percent(candidate / rate) : "–");
    const running = wanted.filter((s) => s.track === "candidate" && s.rate > 0).map((s) => s.version);
    setText($("share-note"), running.length ? running.join(", ") : "no candidate answers");
    figure($("total"), count(pulse.total));
    setText($("total-note"), "since the service began");
    pulse.series.forEach((series) => this.#know(series));
    this.#offer();
    const matched = this.matched ?? 0;
    setText(
      $("sample-note"),
      text || model || version || track
        ? `${count(matched)} came that match since this filter was set; some of them are shown.`
        : `${count(matched)} came since this page was opened: all are counted, some are shown.`,
    );
  }

  #know({ model, version }) {
    if (!this.models.has(model)) this.models.set(model, new Set());
    const versions = this.models.get(model);
    if (versions.size < MOST_VERSIONS) versions.add(version);
    colourOf(model, version);
  }

  #offer() {
    const model = $("filter-model").value;
    setOptions($("filter-model"), [...this.models.keys()].sort(), "All");
    const versions = model ? [...(this.models.get(model) ?? [])] : [...new Set([...this.models.values()].flatMap((all) => [...all]))];
    setOptions($("filter-version"), versions.sort(), "All");
  }
}

function figure(element, value, unit = "") {
  const key = `${value} ${unit}`;
  if (element.dataset.shown === key) return;
  element.dataset.shown = key;
  element.replaceChildren(value, unit ? h("span", { class: "unit" }, unit) : "");
}

function newRow() {
  const cells = Array.from({ length: 6 }, () => h("td"));
  cells[2].className = cells[4].className = "number";
  cells[5].className = "features";
  const node = { tr: h("tr", {}, ...cells), cells, row: null };
  node.value = h("button", { class: "value", type: "button", onclick: () => showDetails(node.row) });
  cells[2].append(node.value);
  return node;
}

function fill(node, row) {
  node.row = row;
  const { cells, value } = node;
  setText(cells[0], time(row.time));
  setText(cells[1], row.key ?? row.id);
  setText(value, prediction(row.prediction));
  value.setAttribute("aria-label", `${value.textContent}, details of the prediction for ${row.key ?? row.id}`);
  cells[3].replaceChildren(chip(row.model, row.version, row.track));
  setText(cells[4], milliseconds(row.took).join(" "));
  setText(cells[5], featuresLine(row.features));
}

function restart(node) {
  node.tr.classList.remove("new");
  // Between the two the browser must not think that nothing has happened.
  requestAnimationFrame(() => node.tr.classList.add("new"));
}

function showDetails(row) {
  const dialog = $("details");
  const features = parsed(row.features);
  const facts = [
    ["Model", row.model],
    ["Version", `${row.version}, ${row.track}${row.fallback ? " (stable answered for the candidate)" : ""}`],
    ["Key", row.key ?? "none"],
    ["Request", row.id],
    ["Made", `${time(row.time)}, ${milliseconds(row.took).join(" ")} after the request`],
    ["Generation", String(row.generation)],
  ];
  const list = (pairs) => h("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  dialog.replaceChildren(
    h("header", {}, h("h2", { id: "details-title" }, "Prediction"), h("button", { class: "button small", type: "button", onclick: () => dialog.close() }, "Close")),
    h("p", { class: "figure" }, prediction(row.prediction)),
    list(facts),
    h("h2", { class: "features-title" }, "Features"),
    features !== null && typeof features === "object"
      ? list(Object.entries(features).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]))
      : h("pre", {}, row.features === "null" ? "not kept in predictions here" : row.features),
  );
  dialog.showModal();
}
