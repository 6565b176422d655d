// Rates of the last minute, stacked, one area a series. Drawn once a second.

import { colourOf } from "./colours.js";
import { h, setText, svg } from "./dom.js";
import { count } from "./format.js";

const SECONDS = 60;
const WIDTH = 600;
const HEIGHT = 100;

const keyOf = (series) => JSON.stringify([series.model, series.version, series.track]);

export class AreaChart {
  #series = new Map(); // key -> {model, version, track, rates}
  #end = 0;

  constructor(element, legend) {
    this.plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.axis = h("span", { class: "axis" });
    this.legend = legend;
    element.append(this.plot, this.axis);
  }

  begin(history) {
    this.#series.clear();
    this.#end = history.time - 1;
    for (const series of history.series) this.#series.set(keyOf(series), { ...series });
    this.draw();
  }

  add(pulse) {
    const end = pulse.time - 1;
    const steps = Math.min(Math.max(end - this.#end, 0), SECONDS);
    if (steps === 0) return;
    const latest = new Map(pulse.series.map((series) => [keyOf(series), series]));
    for (const [key, series] of latest) {
      if (series.rate > 0 && !this.#series.has(key)) {
        this.#series.set(key, { model: series.model, version: series.version, track: series.track, rates: new Array(SECONDS).fill(0) });
      }
    }
    for (const [key, series] of this.#series) {
      // A second that was missed is drawn as the one after it.
      for (let step = 0; step < steps; step += 1) series.rates.push(latest.get(key)?.rate ?? 0);
      series.rates.splice(0, series.rates.length - SECONDS);
      if (series.rates.every((rate) => rate === 0)) this.#series.delete(key);
    }
    this.#end = end;
    this.draw();
  }

  draw() {
    const all = [...this.#series.values()].sort(
      (a, b) => a.model.localeCompare(b.model) || (a.track < b.track) - (a.track > b.track) || a.version.localeCompare(b.version),
    );
    const base = new Array(SECONDS).fill(0);
    const sums = base.map((_, at) => all.reduce((sum, series) => sum + series.rates[at], 0));
    const top = niceTop(Math.max(...sums, 1));
    const x = (at) => (at * WIDTH) / (SECONDS - 1);
    const y = (value) => HEIGHT - (value / top) * HEIGHT;
    const shapes = [svg("path", { class: "grid", d: `M0 ${HEIGHT / 2}H${WIDTH}M0 0H${WIDTH}M0 ${HEIGHT}H${WIDTH}` })];
    for (const series of all) {
      const lower = base.map((value, at) => `${x(at).toFixed(1)} ${y(value).toFixed(2)}`).reverse();
      series.rates.forEach((rate, at) => (base[at] += rate));
      const upper = base.map((value, at) => `${x(at).toFixed(1)} ${y(value).toFixed(2)}`);
      const colour = colourOf(series.model, series.version);
      shapes.push(svg("path", { class: `area ${colour} ${series.track}`, d: `M${upper.join("L")}L${lower.join("L")}Z` }));
      shapes.push(svg("path", { class: `edge ${colour}`, d: `M${upper.join("L")}` }));
    }
    this.plot.replaceChildren(...shapes);
    setText(this.axis, `${count(top)} / s`);
    this.#drawLegend(all);
  }

  #drawLegend(all) {
    const key = all.map(keyOf).join();
    if (key === this.legendKey) return;
    this.legendKey = key;
    const several = new Set(all.map((series) => series.model)).size > 1;
    this.legend.replaceChildren(
      ...all.map((series) =>
        h(
          "li",
          { class: colourOf(series.model, series.version) },
          h("span", { class: "swatch" }),
          `${several ? `${series.model} ` : ""}${series.version}${series.track === "candidate" ? " (candidate)" : ""}`,
        ),
      ),
    );
  }
}

export function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((top) => top >= value * 1.02) ?? 10 * power;
}
