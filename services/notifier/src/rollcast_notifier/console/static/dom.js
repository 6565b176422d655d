// Elements made by hand. Text is always text: nothing that came from outside is ever parsed as markup.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Sets a text only where it differs: what does not change is not laid out again, nor read out again.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setOptions(select, values, all) {
  const wanted = all === undefined ? values : ["", ...values];
  const has = [...select.options].map((option) => option.value);
  if (wanted.length === has.length && wanted.every((value, index) => value === has[index])) return;
  const chosen = select.value;
  select.replaceChildren(...wanted.map((value) => h("option", { value }, value || all)));
  if (wanted.includes(chosen)) select.value = chosen;
}

export function notice(element, text) {
  setText(element, text || "");
  element.hidden = !text;
}
