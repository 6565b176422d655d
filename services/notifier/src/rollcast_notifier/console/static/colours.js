// A version keeps its colour in every view, and from visit to visit.

const COLOURS = 6;
const MOST = 60;
const PLACE = "rollcast-colours";

const known = remembered();

export function colourOf(model, version) {
  const name = `${model} ${version}`;
  if (!known.has(name)) {
    if (known.size >= MOST) known.clear();
    known.set(name, `c${known.size % COLOURS}`);
    try {
      localStorage.setItem(PLACE, JSON.stringify([...known]));
    } catch {
      // It may be forbidden; then colours last as long as the page.
    }
  }
  return known.get(name);
}

function remembered() {
  try {
    return new Map(JSON.parse(localStorage.getItem(PLACE) ?? "[]").filter(([name, colour]) => typeof name === "string" && /^c[0-5]$/.test(colour)));
  } catch {
    return new Map();
  }
}
