// Counts what was checked and keeps what did not hold.
import { RULES } from './rules.mjs';

/** Violations told in full per rule: the rest is counted. */
const TOLD_MAX = 10;

export class Report {
  #checked = Object.fromEntries(Object.keys(RULES).map((rule) => [rule, 0]));
  #broken = {};
  #told = [];
  #samples = {};

  /**
   * Counts a check; keeps `{ rule, section, where, detail }` when it does not hold. `detail` may be a function, called only
   * then. Returns whether it held.
   */
  check(rule, holds, where, detail) {
    if (!(rule in RULES)) throw new Error(`no rule is named ${rule}`);
    this.#checked[rule] += 1;
    if (holds) return true;
    this.#broken[rule] = (this.#broken[rule] ?? 0) + 1;
    if (this.#broken[rule] <= TOLD_MAX) {
      const told = typeof detail === 'function' ? detail() : detail;
      this.#told.push({ rule, section: RULES[rule], where, detail: told ?? '', at: new Date().toISOString() });
    }
    return false;
  }

  /** Remembers a measured number for the summary. */
  measure(name, value) {
    (this.#samples[name] ??= []).push(value);
  }

  /** Whether this rule did not hold somewhere. */
  isBroken(rule) {
    return rule in this.#broken;
  }

  /** Everything, for printing: how often each rule was checked and broken, and what was measured. */
  summary() {
    const never = Object.keys(this.#checked).filter((rule) => this.#checked[rule] === 0);
    const checked = Object.fromEntries(Object.entries(this.#checked).filter(([, count]) => count > 0));
    const measured = Object.fromEntries(Object.entries(this.#samples).map(([name, values]) => [name, spread(values)]));
    return { checked, never_checked: never, broken: this.#broken, measured, violations: this.#told };
  }
}

/** Middle, tail and ends of numbers. */
export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]);
  return { count: sorted.length, min: at(0), median: at(0.5), p99: at(0.99), max: round(sorted.at(-1)) };
}

function round(value) {
  return Math.round(value * 1000) / 1000;
}
