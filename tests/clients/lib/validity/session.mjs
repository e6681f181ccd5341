// One validation of one live session, from its multivariant playlist's address.
import { setMaxListeners } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';

import { DashWatch } from './dash.mjs';
import { Http, sleep, watchStalls } from './http.mjs';
import { Presentation } from './presentation.mjs';
import { probe } from './probes.mjs';
import { Report } from './report.mjs';

/** How often it is looked whether enough was seen. */
const LOOK_MS = 100;

/**
 * Watches for `seconds`, or until `isEnough(report)`; what is due may come `lateMs` late. Returns the summary: renditions, how
 * often each rule was checked, what was measured, and violations.
 */
export async function validate(url, { seconds, lateMs, isEnough = () => false }) {
  const report = new Report();
  const over = new AbortController();
  // Everything that waits listens to it.
  setMaxListeners(0, over.signal);
  watchStalls(over.signal);
  const session = { http: new Http(), report, signal: over.signal, lateMs };
  const presentation = new Presentation(session, url);
  const dash = new DashWatch(session, presentation, new URL('manifest.mpd', url).href);
  const delays = monitorEventLoopDelay({ resolution: 10 });
  delays.enable();
  let isDone = false;
  const watching = Promise.all([presentation.watch(), probe(session, presentation), dash.watch()]).finally(() => (isDone = true));
  for (let left = seconds * 1000; left > 0 && !isDone && !isEnough(report); left -= LOOK_MS) await sleep(Math.min(left, LOOK_MS));
  over.abort();
  // Held requests are let go; what was fetched is still looked at.
  session.http.close();
  await watching;
  dash.conclude();
  const own = { event_loop_p99_ms: delays.percentile(99) / 1e6, event_loop_max_ms: delays.max / 1e6 };
  return { renditions: presentation.describe(), own, ...report.summary() };
}
