// What was predicted against what really happened.

import { chip } from "./chip.js";
import { colourOf } from "./colours.js";
import { niceTop } from "./area_chart.js";
import { $, h, setOptions, svg } from "./dom.js";
import { ago, count, number, percent } from "./format.js";

export class AccuracyView {
  constructor(reopen) {
    $("accuracy-model").addEventListener("change", reopen);
  }

  wanted() {
    return { view: "accuracy", model: $("accuracy-model").value };
  }

  frame({ accuracy }) {
    if (!accuracy) return;
    const { models, model } = accuracy;
    setOptions($("accuracy-model"), models);
    if (models.includes(model)) $("accuracy-model").value = model;
    $("accuracy-model-field").hidden = models.length < 2;
    $("no-accuracy").hidden = models.length > 0;
    $("accuracy").replaceChildren(...(models.length ? cards(accuracy) : []));
  }
}

function cards(accuracy) {
  const { model, numbers, classes } = accuracy;
  return [
    ...(numbers ? [ofNumbers(model, numbers), scatter(model, numbers)] : []),
    ...(classes ? [ofClasses(model, classes), confusion(classes)] : []),
    recent(accuracy),
  ];
}

function table(caption, heads, rows) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads.map((head, index) => h("th", { scope: "col", class: index ? "number" : "" }, head)))),
      h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((cell, index) => h("td", { class: index ? "number" : "" }, cell))))),
    ),
  );
}

function card(title, ...children) {
  return h("article", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, title)), ...children);
}

function ofNumbers(model, { versions }) {
  const rows = versions.map((v) => [chip(model, v.version), count(v.answers), number(v.mae), number(v.median), number(v.rmse), `${v.bias > 0 ? "+" : ""}${number(v.bias)}`]);
  return card("Errors by version", table("Errors by version", ["Version", "Answers", "Mean error", "Median error", "Root mean square", "Bias"], rows));
}

function ofClasses(model, { versions }) {
  const rows = versions.map((v) => [chip(model, v.version), count(v.answers), percent(v.accuracy)]);
  return card("Right answers by version", table("Right answers by version", ["Version", "Answers", "Right"], rows));
}

// Predicted above actual, on one scale both ways: on the broken line they agree.
function scatter(model, { points, versions }) {
  const all = points.flatMap(([actual, said]) => [actual, said]);
  const lowest = Math.min(0, ...all);
  const low = lowest < 0 ? -niceTop(-lowest) : 0;
  const high = niceTop(Math.max(...all, low + 1e-9, 1e-9));
  const place = (value) => (value - low) / (high - low);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const lines = ticks.map((at) => `M${at * 100} 0V100M0 ${at * 100}H100`).join("");
  // Lines are stretched with the plot, points must stay round.
  const plot = h(
    "div",
    { class: "plot", role: "img", "aria-label": `${points.length} predictions against what really happened` },
    svg(
      "svg",
      { viewBox: "0 0 100 100", preserveAspectRatio: "none", width: "100%", height: "100%", style: null },
      svg("path", { class: "grid", fill: "none", d: lines }),
      svg("path", { class: "ideal", d: "M0 100L100 0" }),
    ),
  );
  const dots = svg("svg", { width: "100%", height: "100%" });
  dots.style.cssText = "position:absolute;inset:0;overflow:visible";
  for (const [actual, said, index] of points) {
    dots.append(
      svg("circle", {
        class: `point ${colourOf(model, versions[index].version)}`,
        cx: `${(place(actual) * 100).toFixed(2)}%`,
        cy: `${(100 - place(said) * 100).toFixed(2)}%`,
        r: "4.5",
      }),
    );
  }
  plot.append(dots);
  const box = h("div", { class: "scatter" }, plot);
  for (const at of ticks) {
    const text = number(low + at * (high - low));
    const below = h("span", { class: "tick" }, text);
    below.style.cssText = `left:calc(54px + (100% - 54px) * ${at});bottom:12px;transform:translateX(-50%)`;
    const beside = h("span", { class: "tick" }, text);
    beside.style.cssText = `right:calc(100% - 46px);bottom:calc(34px + (100% - 34px) * ${at});transform:translateY(50%)`;
    box.append(below, ...(at === 0 ? [] : [beside]));
  }
  const under = h("p", { class: "muted small" }, `Across: what really happened. Up: what was predicted. On the broken line both agree; the last ${count(points.length)} answers.`);
  return card("Predicted against actual", box, under);
}

function confusion({ names, counts, others }) {
  const most = Math.max(1, ...counts.flat());
  const body = counts.map((row, i) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, names[i]),
      ...row.map((value, j) => {
        const cell = h("td", { class: i === j ? "right" : "wrong" }, value ? count(value) : "·");
        cell.style.setProperty("--heat", String(value ? 12 + Math.round((48 * value) / most) : 0));
        return cell;
      }),
    ),
  );
  const head = h("tr", {}, h("th", { scope: "col" }, "was ↓ said →"), ...names.map((name) => h("th", { scope: "col" }, name)));
  return card(
    "How often each class was taken for which",
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusions" }, h("table", { class: "confusion" }, h("thead", {}, head), h("tbody", {}, ...body))),
    others ? h("p", { class: "muted small" }, `${count(others)} more with rarer classes.`) : null,
  );
}

function recent({ model, recent: answers, answers: total, unknown }) {
  const shown = (value) => (value === null ? "not said" : typeof value === "number" ? number(value) : value);
  const rows = answers.map((a) => [h("span", { class: "mono small" }, a.id), chip(model, a.version), shown(a.said), shown(a.actual), ago(a.time)]);
  const note = unknown ? ` ${count(unknown)} of them do not say what had been predicted.` : "";
  return card(
    "Latest answers",
    h("p", { class: "muted small" }, `${count(total)} answers to predictions of ${model}.${note}`),
    table("Latest answers", ["Request", "Version", "Predicted", "Actual", "When"], rows),
  );
}
