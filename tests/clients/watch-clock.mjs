// Glass to glass: watches `playhouse demo --live` with a player and reads the time out of each picture's strip of black and
// white cells (24 bits of milliseconds since 1970, highest first, then even parity) when the browser shows it.
import { readPictures } from './lib/clock.mjs';
import { LIVE_PLAYERS } from './lib/live-players.mjs';
import { round } from './lib/playback.mjs';
import { complaints, withPlayer } from './lib/player-page.mjs';
import { integer, must, run } from './lib/run.mjs';

const OPTIONS = {
  player: { type: 'string', default: 'hls.js' },
  seconds: { type: 'string', default: '20' },
  settle: { type: 'string', default: '8' },
};

await run(['BASE', 'MANIFEST_URL'], OPTIONS, (input, results) =>
  withPlayer(input, (page) => watch(page, input, results), LIVE_PLAYERS),
);

async function watch(page, input, results) {
  const seconds = integer(input.seconds, 'seconds');
  await page.waitForTimeout(integer(input.settle, 'settle') * 1000);
  await page.evaluate(readPictures);
  await page.waitForTimeout(seconds * 1000);
  const { delays, unreadable, stalls } = await page.evaluate(() => window.clock);
  delays.sort((a, b) => a - b);
  const at = (share) => round(delays[Math.floor((delays.length - 1) * share)] / 1000);
  const errors = await complaints(page);
  Object.assign(results, { pictures: delays.length, unreadable, stalls, errors });
  must(delays.length > seconds * 5, `only ${delays.length} pictures could be read, ${unreadable} could not`);
  Object.assign(results, { median_s: at(0.5), p95_s: at(0.95), max_s: at(1) });
}
