// The connection to the server: one at a time, opened anew when what is wanted changes.

const AGAIN_MS = 2000;

export class Stream {
  #source = null;
  #again = null;

  constructor(onFrame, onState) {
    this.onFrame = onFrame;
    this.onState = onState;
  }

  open(wanted) {
    this.close();
    const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
    const source = new EventSource(`/api/stream?${query}`);
    this.#source = source;
    source.addEventListener("frame", (event) => {
      this.onState("live");
      this.onFrame(JSON.parse(event.data));
    });
    source.addEventListener("over", () => location.assign("/login"));
    source.addEventListener("error", () => {
      this.onState("lost");
      // The browser tries again by itself, unless the server has refused.
      if (source.readyState === EventSource.CLOSED) this.#again = setTimeout(() => this.#retry(wanted), AGAIN_MS);
    });
  }

  async #retry(wanted) {
    const lost = this.#source;
    try {
      const answer = await fetch("/api/forms");
      if (answer.status === 401) return location.assign("/login");
    } catch {
      // Not there; the next try says so again.
    }
    // Who has turned to another view meanwhile has its stream already.
    if (this.#source === lost) this.open(wanted);
  }

  close() {
    clearTimeout(this.#again);
    this.#source?.close();
    this.#source = null;
  }
}

const csrf = document.querySelector('meta[name="csrf"]').content;

// Resolves to null, or to what the server has against it: {problem, fields}.
export async function post(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(30000),
    });
    if (answer.status === 401) location.assign("/login");
    if (answer.ok) return null;
    return await answer.json();
  } catch {
    return { problem: "The server cannot be reached. Please try again.", fields: {} };
  }
}

// 32 hexadecimal digits: a message sent twice by accident is one message.
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
