// Glass to glass: watches `playhouse demo --live` with a player and reads the time out of each picture's strip of black and
// white cells (24 bits of milliseconds since 1970, highest first, then even parity) when the browser shows it.
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

/** Runs in the page. */
function readPictures() {
  const CELLS = 25;
  const video = document.querySelector('video');
  const canvas = document.createElement('canvas');
  const strip = canvas.getContext('2d', { willReadFrequently: true });
  const clock = { delays: [], unreadable: 0, stalls: 0 };
  window.clock = clock;
  video.addEventListener('waiting', () => (clock.stalls += 1));
  const look = (_, { expectedDisplayTime, width, height }) => {
    video.requestVideoFrameCallback(look);
    canvas.width = width;
    canvas.height = 1;
    strip.drawImage(video, 0, height - Math.floor(height / 24), width, 1, 0, 0, width, 1);
    const { data } = strip.getImageData(0, 0, width, 1);
    const cell = Math.floor(width / CELLS);
    const bits = Array.from({ length: CELLS }, (_, at) => Number(data[(at * cell + (cell >> 1)) * 4] > 128));
    const shown = Math.round(performance.timeOrigin + expectedDisplayTime) % 2 ** 24;
    const taken = bits.slice(0, -1).reduce((value, bit) => value * 2 + bit, 0);
    if (bits.reduce((sum, bit) => sum + bit, 0) % 2) clock.unreadable += 1;
    else clock.delays.push((shown - taken + 2 ** 24) % 2 ** 24);
  };
  video.requestVideoFrameCallback(look);
}
