// Plays a live stream with one of the players at low latency, on a page of another origin: it starts, stays close to the live
// edge by the stream's own clock, and goes on.
import { LIVE_PLAYERS } from './lib/live-players.mjs';
import { look, round } from './lib/playback.mjs';
import { complaints, withPlayer } from './lib/player-page.mjs';
import { integer, must, run } from './lib/run.mjs';
import { measureSkew } from './lib/skew.mjs';

/** What players report of themselves on a machine that is too busy to play. */
const CATCHING_UP = ['bufferStalledError', 'bufferNudgeOnStall', 'bufferSeekOverHole'];
/** What hls.js reports when it was quicker than its own queue: it appends once more. */
const QUEUED = ['This SourceBuffer is still processing'];
/** What they report of a rung that came too late, before they go on with another one. */
const GIVEN_UP = ['fragGap'];
/** What hls.js reports when it waits for a whole segment as if for a part, or guesses after a pause which one comes next. */
const IMPATIENT = ['TrackLoadTimeOut', 'levelLoadTimeOut', 'levelLoadError A network error (status 400)'];

/** What is looked at in the end of what a player must survive, seconds. */
const LAST_S = 8;

const OPTIONS = {
  player: { type: 'string', default: 'hls.js' },
  'latency-max': { type: 'string', default: '6' },
  seconds: { type: 'string', default: '10' },
  whole: { type: 'boolean' },
  ladder: { type: 'boolean' },
  smooth: { type: 'boolean' },
  survive: { type: 'boolean' },
  skew: { type: 'boolean' },
};

await run(['BASE', 'MANIFEST_URL'], OPTIONS, (input, results) =>
  withPlayer(input, (page) => watch(page, input, results), LIVE_PLAYERS),
);

async function watch(page, input, results) {
  const watched = integer(input.seconds, 'seconds');
  await page.waitForTimeout(2000);
  if (input.skew) await page.evaluate(measureSkew);
  await page.evaluate(() => {
    window.stalls = 0;
    document.querySelector('video').addEventListener('waiting', () => (window.stalls += 1));
  });
  const before = await look(page);
  const [latencies, times] = [[], []];
  for (let second = 0; second < watched; second += 1) {
    await page.waitForTimeout(1000);
    latencies.push(await page.evaluate(() => window.player.behind()));
    times.push((await look(page)).time);
    await complaints(page);
  }
  const after = await look(page);
  const { low, stalls, where } = await page.evaluate(() => ({ low: player.low(), stalls: window.stalls, where: player.where() }));
  if (input.skew) results.skew = await page.evaluate(() => window.skew.result());
  const errors = await complaints(page);
  const behind = latencies.toSorted((a, b) => a - b)[Math.floor(latencies.length / 2)];
  where.element = await page.evaluate(elementState);
  Object.assign(results, { behind_s: round(behind), latest_s: round(latencies.at(-1)), stalls, played_s: round(after.time - before.time), where, errors });
  must(low || input.whole, 'low latency is off');
  // Whatever happened to the stream, it goes on in the end.
  const last = times.slice(-LAST_S);
  must(!input.survive || last.at(-1) - last[0] > LAST_S / 4, `it stands still: ${last.map(round)}`);
  // How smoothly is for a machine of its own to tell: elsewhere it must not stay behind.
  must(after.time - before.time > watched * 0.5, `only ${round(after.time - before.time)} s were played`);
  must(after.frames > before.frames, 'no pictures are decoded');
  must(stalls === 0 || !input.smooth, `it stood still ${stalls} times`);
  const away = input.survive ? latencies.at(-1) : behind;
  must(away < Number(input['latency-max']), `${round(away)} s behind the publisher`);
  const minor = CATCHING_UP.concat(QUEUED, input.ladder ? GIVEN_UP : [], input.whole ? IMPATIENT : []);
  const wrong = errors.filter((error) => !minor.some((known) => error.includes(known)));
  must(wrong.length === 0 || input.survive, `the player reported: ${wrong.join(' | ')}`);
}

/** Runs in the page. */
function elementState() {
  const video = document.querySelector('video');
  const buffered = Array.from({ length: video.buffered.length }, (_, i) => [video.buffered.start(i), video.buffered.end(i)]);
  const { currentTime, paused, seeking, readyState, playbackRate } = video;
  return { currentTime, paused, seeking, readyState, playbackRate, buffered, error: video.error?.message };
}
