/** Measures a transfer's speed over the last few seconds. */

const WINDOW_MS = 4000;
/** Shorter spans say nothing: the first bytes only fill the socket's buffers. */
const SPAN_MS_MIN = 400;

export class Speed {
  #samples: { at: number; bytes: number }[] = [];

  /** Takes in how many bytes have gone by `at` (ms); returns bytes per second, or null while unknown. */
  at(at: number, bytes: number): number | null {
    const last = this.#samples.at(-1);
    if (last && bytes < last.bytes) this.#samples = []; // a retry went back to what the server has
    this.#samples.push({ at, bytes });
    while (this.#samples.length > 2 && at - (this.#samples[1]?.at ?? at) > WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0];
    if (!first || at - first.at < SPAN_MS_MIN) return null;
    return ((bytes - first.bytes) * 1000) / (at - first.at);
  }
}
