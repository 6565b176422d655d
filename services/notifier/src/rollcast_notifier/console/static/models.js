// The served models as a live picture of their rollouts.

import { chip } from "./chip.js";
import { colourOf } from "./colours.js";
import { $, h, svg } from "./dom.js";
import { ago, count, time } from "./format.js";

const PHASES = { preparing: "Preparing", shadow: "Shadow", canary: "Canary", live: "Live" };
const SHADES = { preparing: "warn", shadow: "accent", canary: "accent", live: "good" };
const STATE_SHADES = { ready: "good", loading: "warn", refused: "bad", failed: "bad" };

export class ModelsView {
  #cards = new Map(); // identity -> {card, key}

  wanted() {
    return { view: "models" };
  }

  frame({ models }) {
    if (!models) return;
    $("no-models").hidden = models.length > 0;
    const seen = new Set();
    for (const model of models) {
      seen.add(model.identity);
      this.#show(model);
    }
    for (const [identity, { card }] of this.#cards) {
      if (seen.has(identity)) continue;
      card.remove();
      this.#cards.delete(identity);
    }
  }

  // Drawn anew only where something can be seen to have changed; the bar is kept, so that it moves.
  #show(model) {
    let known = this.#cards.get(model.identity);
    if (!known) {
      const card = h("article", { class: "card" });
      known = { card, bar: h("div", { class: "weights" }), key: "" };
      this.#cards.set(model.identity, known);
      $("models").append(card);
    }
    const since = ago(model.since);
    const slots = model.slots.map((slot) => ({ ...slot, time: slot.silent ? ago(slot.time) : "" }));
    const key = JSON.stringify([{ ...model, slots: 0 }, since, slots]);
    if (key === known.key) return;
    known.key = key;
    drawBar(known.bar, model);
    known.card.replaceChildren(...[
      h(
        "header",
        { class: "model-head" },
        h("div", {}, h("h3", {}, model.model), h("p", { class: "muted small" }, `${model.change}, ${since}`)),
        h("span", { class: `chip ${SHADES[model.phase]}`, "data-phase": model.phase }, model.phase === "canary" ? `Canary ${model.weight} %` : PHASES[model.phase]),
      ),
      known.bar,
      legend(model),
      ...(model.candidate ? [path(model)] : []),
      steps(model),
      slots.length
        ? h("div", { class: "slots" }, ...slots.map((slot) => slotOf(model, slot)))
        : h("p", { class: "muted small" }, "No slot has reported in the last minutes."),
    ].filter(Boolean));
  }
}

function drawBar(bar, model) {
  const candidate = model.candidate ? model.weight : 0;
  const label = model.candidate ? `stable ${100 - candidate} %, candidate ${candidate} %` : "stable 100 %";
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `${model.model}: ${label}`);
  if (!bar.children.length) bar.append(h("div", { class: "weight" }, h("span")), h("div", { class: "weight" }, h("span")));
  const [left, right] = bar.children;
  part(left, model, model.stable, 100 - candidate, false);
  right.hidden = !model.candidate || (!candidate && !model.shadow);
  if (!right.hidden) part(right, model, model.candidate, candidate || 14, model.shadow && !candidate);
}

function part(element, model, version, width, isShadow) {
  element.className = `weight ${colourOf(model.model, version.version)} ${isShadow ? "shadow" : ""}`;
  element.style.width = `${width}%`;
  element.firstChild.textContent = isShadow ? "shadow" : width >= 12 ? `${width} %` : "";
}

function legend(model) {
  return h(
    "p",
    { class: "weights-legend" },
    chip(model.model, model.stable.version, "stable", `${model.stable.version} (stable)`),
    model.candidate ? chip(model.model, model.candidate.version, "candidate", `${model.candidate.version} (candidate)`) : null,
  );
}

function path(model) {
  const names = ["preparing", "shadow", "canary", "live"];
  const at = names.indexOf(model.phase);
  return h(
    "ol",
    { class: "path", "aria-label": "Rollout" },
    ...names.map((name, index) =>
      h("li", { class: index < at ? "done" : "", "aria-current": index === at ? "step" : null }, PHASES[name]),
    ),
  );
}

// From the first step of the newest rollout on.
function lastRollout(steps) {
  const before = steps.slice(0, -1).findLastIndex((step) => !step.candidate);
  return steps.slice(before + 1);
}

// The candidate's share, the last one until now.
function steps(model) {
  const all = lastRollout(model.steps);
  const last = all.findLast((step) => step.candidate);
  if (!last) return null;
  const from = all[0].time;
  const until = model.candidate ? Math.max(Date.now(), from + 1) : all.at(-1).time + (all.at(-1).time - from) * 0.1 + 1;
  const x = (at) => ((at - from) / (until - from)) * 600;
  const y = (weight) => 62 - weight * 0.58;
  let line = "";
  all.forEach((step, index) => {
    const end = index + 1 < all.length ? all[index + 1].time : until;
    line += `${index ? "L" : "M"}${x(step.time).toFixed(1)} ${y(step.weight)}L${x(end).toFixed(1)} ${y(step.weight)}`;
  });
  return h(
    "figure",
    { class: "history" },
    h("figcaption", { class: "muted small" }, `Share of ${last.candidate} since ${time(from)}`),
    svg(
      "svg",
      { viewBox: "0 0 600 64", preserveAspectRatio: "none", width: "100%", height: "46", role: "img", "aria-label": "Candidate’s share over time" },
      svg("path", { class: "grid", d: "M0 62H600M0 4H600" }),
      svg("path", { class: `edge ${colourOf(model.model, last.candidate)}`, d: line }),
    ),
  );
}

function slotOf(model, slot) {
  const rows = [
    ["stable", slot.stable],
    ["candidate", slot.candidate],
  ].filter(([, report]) => report);
  return h(
    "article",
    { class: `slot ${slot.silent ? "silent" : ""}` },
    h(
      "header",
      {},
      `Slot ${slot.ordinal}`,
      slot.silent
        ? h("span", { class: "chip bad" }, `silent, ${slot.time}`)
        : h("span", { class: `chip ${slot.current ? "good" : "warn"}` }, slot.current ? `${slot.partitions} partition${slot.partitions === 1 ? "" : "s"}` : "catching up"),
    ),
    h(
      "dl",
      {},
      ...rows.flatMap(([track, report]) => [
        h("dt", {}, track),
        h(
          "dd",
          {},
          h("span", {}, report.version),
          h("span", { class: `chip ${STATE_SHADES[report.state]}` }, report.state),
        ),
        h("dt", {}, ""),
        h("dd", { class: "muted" }, `${count(report.predictions)} predictions${report.errors ? `, ${count(report.errors)} errors` : ""}${report.fallbacks ? `, ${count(report.fallbacks)} answered by stable` : ""}`),
        ...(report.message || report.reason ? [h("dd", { class: "why" }, [report.reason, report.message].filter(Boolean).join(": "))] : []),
      ]),
      ...(slot.error ? [h("dd", { class: "why" }, slot.error)] : []),
    ),
  );
}
