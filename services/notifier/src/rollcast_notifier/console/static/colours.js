// A version keeps its colour in every view, as long as the page is open.

const known = new Map();

export function colourOf(model, version) {
  const name = `${model} ${version}`;
  if (!known.has(name)) known.set(name, `c${known.size % 6}`);
  return known.get(name);
}
