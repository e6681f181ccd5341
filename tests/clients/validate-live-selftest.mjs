// Proves that the validator of live sessions notices: an origin that follows all rules passes, and each rule is reported when the
// origin breaks it.
import { must, run } from './lib/run.mjs';
import { BREAKAGES, CLEAN } from './lib/validity/breakages.mjs';
import { serveFixture } from './lib/validity/fixture.mjs';
import { RULES } from './lib/validity/rules.mjs';
import { validate } from './lib/validity/session.mjs';

/** What is due may come this late: less than what the broken ones are late by. */
const LATE_MS = 1500;
/** How long sessions without a fault are watched, seconds; those with one at most. */
const CLEAN_SECS = 10;
const BROKEN_SECS = 14;
/** Before anything is judged, seconds. */
const WARM_SECS = 2;
/** Sessions at a time: what one process serves and watches in time. */
const AT_ONCE = 6;

const OPTIONS = { only: { type: 'string' } };

await run([], OPTIONS, async ({ only }, results) => {
  const uncovered = Object.keys(RULES).filter((rule) => !(rule in BREAKAGES));
  must(uncovered.length === 0, `nothing breaks ${uncovered}`);
  // The first requests of a process are slow, which is nobody's fault.
  await watch({}, WARM_SECS);
  if (!only) await watchClean(results);
  const missed = [];
  const waiting = Object.entries(BREAKAGES).filter(([rule]) => !only || rule.startsWith(only));
  results.noticed = waiting.length;
  const take = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [rule, wrong] = next;
      const summary = await watch(wrong, BROKEN_SECS, (report) => report.isBroken(rule));
      if (!summary.broken[rule]) missed.push({ rule, checked: summary.checked[rule] ?? 0, others: summary.broken });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, take));
  results.missed = missed;
  results.noticed -= missed.length;
  must(missed.length === 0, `not noticed: ${missed.map(({ rule }) => rule)}`);
});

async function watch(wrong, seconds, isEnough) {
  const fixture = await serveFixture(wrong);
  try {
    return await validate(fixture.url, { seconds, lateMs: LATE_MS, isEnough });
  } finally {
    fixture.close();
  }
}

/** Sessions without a fault: nothing is reported, and every rule is checked in one of them. */
async function watchClean(results) {
  const summaries = await Promise.all(Object.values(CLEAN).map((wrong) => watch(wrong, CLEAN_SECS)));
  const wrongly = summaries.flatMap(({ violations }) => violations);
  results.wrongly_reported = wrongly;
  must(wrongly.length === 0, `reported without a fault: ${wrongly.map(({ rule, detail }) => `${rule} (${detail})`)}`);
  const never = Object.keys(RULES).filter((rule) => summaries.every(({ never_checked: unchecked }) => unchecked.includes(rule)));
  must(never.length === 0, `never checked: ${never}`);
}
