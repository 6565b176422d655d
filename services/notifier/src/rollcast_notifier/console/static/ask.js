// Asking by a form made of the model card or in words, and the conversation that comes of it.

import { colourOf } from "./colours.js";
import { $, h, notice, setOptions, setText } from "./dom.js";
import { number, parsed, percent, prediction, when } from "./format.js";
import { newId, post } from "./stream.js";

const MOST_MESSAGES = 150;
const FORMS_EVERY_MS = 15_000;
const STATES = { queued: "Queued", sent: "Sent", delivered: "Delivered", read: "Read", failed: "Failed" };
const MARKS = { queued: "◔", sent: "✓", delivered: "✓✓", read: "✓✓", failed: "✕" };

export class AskView {
  #messages = new Map(); // id -> {item, data}
  #forms = {};
  #shown = ""; // which form stands there
  #timer = null;
  #marks = { delivered: new Set(), read: new Set() };
  #marking = null;

  constructor() {
    this.list = $("messages");
    // Read is what was on the screen of a page that somebody looks at.
    this.watcher = new IntersectionObserver((entries) => this.#seen(entries), { root: this.list, threshold: 0.6 });
    document.addEventListener("visibilitychange", () => this.#watchAgain());
    $("ask-model").addEventListener("change", () => this.#showForm());
    $("ask-form").addEventListener("submit", (event) => this.#ask(event));
    $("ask-example").addEventListener("click", () => this.#fillExample());
    $("say-form").addEventListener("submit", (event) => this.#say(event));
    $("say").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        $("say-form").requestSubmit();
      }
    });
  }

  opened() {
    this.#loadForms();
    this.#timer = setInterval(() => this.#loadForms(), FORMS_EVERY_MS);
    this.#watchAgain();
    this.#toEnd();
  }

  left() {
    clearInterval(this.#timer);
  }

  frame() {}

  // The form.

  async #loadForms() {
    try {
      const answer = await fetch("/api/forms");
      if (!answer.ok) return;
      const { models, can_ask: canAsk } = await answer.json();
      this.#forms = canAsk ? models : {};
    } catch {
      return; // the next try will do
    }
    const names = Object.keys(this.#forms).sort();
    setOptions($("ask-model"), names);
    $("ask-model-field").hidden = names.length < 2;
    this.#showForm();
  }

  #showForm() {
    const model = $("ask-model").value;
    const form = this.#forms[model];
    const key = JSON.stringify([model, form?.version, form?.fields]);
    if (key === this.#shown) return;
    this.#shown = key;
    const kept = this.#fields();
    $("ask-form").hidden = !form;
    notice($("ask-none"), form ? "" : model ? `${model} has no model card, so there is no form. Ask in words.` : "No model is served now.");
    setText($("ask-about"), form ? about(model, form) : "");
    if (!form) return;
    $("ask-fields").replaceChildren(...form.fields.map((field, index) => fieldOf(field, index, kept[field.name])));
    $("ask-send").disabled = false;
    $("ask-example").hidden = !form.example;
  }

  #fields() {
    return Object.fromEntries([...$("ask-fields").querySelectorAll("input")].map((input) => [input.name, input.value]));
  }

  #fillExample() {
    const { example } = this.#forms[$("ask-model").value] ?? {};
    for (const input of $("ask-fields").querySelectorAll("input")) {
      input.value = example?.[input.name] ?? "";
      input.dispatchEvent(new Event("input"));
    }
  }

  async #ask(event) {
    event.preventDefault();
    const button = $("ask-send");
    if (button.disabled) return;
    button.disabled = true;
    const fields = this.#fields();
    const refused = await post("/api/ask", { id: newId(), model: $("ask-model").value, fields });
    button.disabled = false;
    notice($("ask-problem"), refused?.problem);
    let first = null;
    for (const input of $("ask-fields").querySelectorAll("input")) {
      const problem = refused?.fields?.[input.name];
      input.setAttribute("aria-invalid", String(Boolean(problem)));
      const place = $(`${input.id}-wrong`);
      notice(place, problem && `${input.name} ${problem}`);
      if (problem) first ??= input;
    }
    first?.focus();
  }

  // The conversation.

  async #say(event) {
    event.preventDefault();
    const text = $("say").value.trim();
    if (!text) return;
    const refused = await post("/api/say", { id: newId(), text });
    notice($("say-problem"), refused?.problem);
    // What was typed meanwhile is the next message.
    if (!refused && $("say").value.trim() === text) $("say").value = "";
    $("say").focus();
  }

  mail({ messages, unread }) {
    const badge = $("unread");
    badge.hidden = !unread;
    setText(badge, unread > 99 ? "99+" : String(unread));
    badge.setAttribute("aria-label", `${unread} unread`);
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 80;
    let added = false;
    for (const message of messages) {
      const known = this.#messages.get(message.id);
      if (known) {
        known.data = message;
        known.item.replaceChild(metaOf(message), known.item.querySelector(".meta"));
        continue;
      }
      added = true;
      const item = this.#item(message);
      this.#messages.set(message.id, { item, data: message });
      this.list.append(item);
      if (!message.is_mine && !message.delivered) this.#mark("delivered", message.id);
      if (!message.is_mine && !message.read) this.watcher.observe(item);
    }
    for (const message of messages) if (message.about) this.#answered(message);
    while (this.#messages.size > MOST_MESSAGES) {
      const [id, { item }] = this.#messages.entries().next().value;
      this.watcher.unobserve(item);
      item.remove();
      this.#messages.delete(id);
    }
    $("no-messages").hidden = this.#messages.size > 0;
    if (added && atEnd) this.#toEnd();
  }

  #toEnd() {
    requestAnimationFrame(() => (this.list.scrollTop = this.list.scrollHeight));
  }

  #item(message) {
    const isAnswer = Boolean(message.prediction_id) && message.prediction !== "null";
    const bubble = h("div", { class: "bubble" });
    if (isAnswer) bubble.append(h("span", { class: "said-value" }, prediction(message.prediction)));
    bubble.append(message.text);
    if (isAnswer) bubble.append(this.#truth(message));
    const item = h(
      "li",
      { class: `message ${message.is_mine ? "mine" : ""} ${isAnswer ? `answer ${colourOf(message.model, message.version)}` : ""}` },
      bubble,
      metaOf(message),
    );
    item.dataset.id = message.id;
    return item;
  }

  // What really happened: a number where a number was predicted, else the name of a class.
  #truth(message) {
    const id = `truth-${message.id}`;
    const isNumber = typeof parsed(message.prediction) === "number";
    const classes = this.#forms[message.model]?.classes ?? [];
    const input = h("input", {
      id,
      name: "actual",
      required: true,
      maxlength: 200,
      autocomplete: "off",
      inputmode: isNumber ? "decimal" : null,
      placeholder: isNumber ? "such as 28.50" : "the class",
      list: classes.length ? `${id}-list` : null,
    });
    const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
    const list = classes.length ? h("datalist", { id: `${id}-list` }, ...classes.map((name) => h("option", { value: String(name) }))) : null;
    const submit = async (event) => {
      event.preventDefault();
      const actual = input.value.trim();
      if (!actual) return;
      const refused = await post("/api/say", { id: newId(), text: `actual ${actual} #${message.reference}`, about: message.id });
      notice(wrong, refused?.problem);
      if (!refused && input.value.trim() === actual) input.value = "";
    };
    return h(
      "form",
      { class: "truth", onsubmit: submit, novalidate: true },
      h("label", { for: id }, "What really happened?"),
      input,
      list,
      h("button", { class: "button small", type: "submit" }, "Tell"),
      wrong,
    );
  }

  #answered(message) {
    const truth = this.#messages.get(message.about)?.item.querySelector(".truth");
    if (!truth) return;
    setText(truth.querySelector("label"), "Answered. Was it something else?");
  }

  // Receipts, a few at a time.

  #seen(entries) {
    if (document.hidden) return;
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.watcher.unobserve(target);
      this.#mark("read", target.dataset.id);
    }
  }

  #watchAgain() {
    if (document.hidden) return;
    for (const { item, data } of this.#messages.values()) {
      if (data.is_mine || data.read) continue;
      this.watcher.unobserve(item);
      this.watcher.observe(item);
    }
  }

  #mark(mark, id) {
    this.#marks[mark].add(id);
    this.#marking ??= setTimeout(() => this.#tellMarks(), 100);
  }

  // One post after the other: a `read` that overtook its `delivered` would swallow it.
  async #tellMarks() {
    const body = { delivered: [...this.#marks.delivered], read: [...this.#marks.read] };
    this.#marks = { delivered: new Set(), read: new Set() };
    const refused = await post("/api/mark", body);
    if (refused) for (const [kind, ids] of Object.entries(body)) ids.forEach((one) => this.#marks[kind].add(one));
    const left = this.#marks.delivered.size + this.#marks.read.size;
    this.#marking = left ? setTimeout(() => this.#tellMarks(), refused ? 5000 : 100) : null;
  }
}

function metaOf(message) {
  const state = message.problem ? "failed" : (["read", "delivered", "sent"].find((name) => message[name]) ?? "queued");
  return h(
    "p",
    { class: "meta" },
    message.version ? `${message.model} ${message.version}` : null,
    h("time", { datetime: new Date(message.queued).toISOString() }, when(message.queued)),
    message.reference ? `#${message.reference}` : null,
    h("span", { class: "state", "data-state": state, title: message.problem ?? "" }, h("span", { "aria-hidden": "true" }, MARKS[state]), STATES[state]),
  );
}

function about(model, form) {
  const [name, value] = Object.entries(form.metrics)[0] ?? [];
  const how = name === undefined ? "" : `, ${name} ${name.includes("acc") ? percent(value) : number(value)} on rows that it never saw`;
  return `${model} ${form.version} predicts ${form.target}${how}.`;
}

function fieldOf(field, index, kept) {
  const id = `field-${index}`;
  const isNumber = field.type === "number";
  const hasRange = isNumber && field.minimum !== null && field.maximum !== null;
  const range = hasRange ? `${plain(field.minimum)} to ${plain(field.maximum)}` : "";
  const more = field.category_count > field.categories.length ? `, ${field.category_count} known` : "";
  const hint = [range && `seen: ${range}`, field.categories.length && `such as ${field.categories.slice(0, 2).join(", ")}${more}`, !field.required && "may be left out"];
  const input = h("input", {
    id,
    name: field.name,
    type: "text",
    maxlength: 2000,
    inputmode: isNumber ? "decimal" : null,
    required: field.required,
    "data-min": field.minimum,
    "data-max": field.maximum,
    list: field.categories.length ? `${id}-list` : null,
    autocomplete: "off",
    "aria-describedby": `${id}-hint ${id}-wrong ${id}-beware`,
  });
  input.value = kept ?? "";
  const beware = h("p", { class: "beware", id: `${id}-beware`, "aria-live": "polite", hidden: true });
  input.addEventListener("input", () => {
    const value = Number(input.value);
    const isFar = hasRange && input.value.trim() && (value < field.minimum || value > field.maximum);
    notice(beware, isFar && "The model has seen nothing like it.");
  });
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, field.name),
    input,
    field.categories.length ? h("datalist", { id: `${id}-list` }, ...field.categories.map((value) => h("option", { value }))) : null,
    h("p", { class: "hint", id: `${id}-hint` }, hint.filter(Boolean).join("; ")),
    beware,
    h("p", { class: "wrong", id: `${id}-wrong`, hidden: true }),
  );
}

// A year is 2019, not 2,019.
const plain = (value) => String(Math.round(value * 1e4) / 1e4);
