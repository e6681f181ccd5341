// Watches by WHEP in a page until pictures and sound were decoded, and some seconds more: how many pictures and how much sound, how
// long the first one took, how far sound and pictures are apart (by a flash and a beep that belong together, if there are such), and,
// when pictures carry a clock, glass to glass. What has been passed is told on the error stream, line by line. It waits before for as
// long as `--settle`; with `--skew` no longer than until sound and pictures are in step, which browsers bring about bit by bit.
// With `--sizes` it tells the size of pictures whenever that has changed.
import { withBrowser } from './lib/browser.mjs';
import { readPictures } from './lib/clock.mjs';
import { round } from './lib/playback.mjs';
import { integer, must, run, until } from './lib/run.mjs';
import { measureSkew } from './lib/skew.mjs';
import { WITH_LOOPBACK, counts, watch } from './lib/whep.mjs';

const OPTIONS = {
  token: { type: 'string' },
  codec: { type: 'string' },
  port: { type: 'string' },
  tcp: { type: 'boolean', default: false },
  seconds: { type: 'string', default: '6' },
  settle: { type: 'string', default: '0' },
  restart: { type: 'boolean', default: false },
  clock: { type: 'boolean', default: false },
  skew: { type: 'boolean', default: false },
  sizes: { type: 'boolean', default: false },
};

/** Sound and pictures that were this near for so many beeps are in step, milliseconds. */
const IN_STEP = { skew: 40, beeps: 5 };

await run(['BASE', 'URL'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    await page.goto(`${input.BASE.replace(/\/$/, '')}/healthz`);
    const { status, answer } = await watch(page, { url: input.URL, ...input });
    results.status = status;
    must(status === 201, `the server answers ${status}: ${answer}`);
    const isShown = ({ video, audio }) => video?.frames > 0 && audio?.packets > 0;
    await until('pictures and sound', async () => isShown(await counts(page)));
    console.error('passed: playing');
    if (input.skew) await page.evaluate(measureSkew);
    await settle(page, integer(input.settle, 'settle') * 1000, input.skew);
    if (input.skew) await page.evaluate(() => window.skew.anew());
    if (input.clock) await page.evaluate(readPictures);
    if (input.restart) results.restarted = await page.evaluate(() => window.whep.restart());
    const before = await counts(page);
    await watchFor(page, integer(input.seconds, 'seconds') * 1000, input.sizes);
    const after = await counts(page);
    // What is heard and what is shown now, by the publisher's clock, as the browser believes.
    const apart = after.video && after.audio && after.video.playoutAt - after.audio.playoutAt;
    Object.assign(results, { first_picture_ms: round(after.firstPictureMs), believed_skew_ms: round(apart), before, after });
    if (input.clock) results.clock = await page.evaluate(clockFigures);
    if (input.skew) results.skew = await page.evaluate(() => window.skew.result());
    results.streams = await page.evaluate(() => [...window.whep.streams]);
    console.error('passed: watched');
    results.deleted = await page.evaluate(() => window.whep.stop());
    results.trouble = trouble;
  }, WITH_LOOPBACK),
);

async function settle(page, mostMs, byBeeps) {
  if (!byBeeps) return page.waitForTimeout(mostMs);
  const end = Date.now() + mostMs;
  while (Date.now() < end) {
    await page.waitForTimeout(250);
    const skew = await page.evaluate((beeps) => window.skew.lately(beeps), IN_STEP.beeps);
    if (skew !== null && Math.abs(skew) < IN_STEP.skew) return;
  }
}

async function watchFor(page, ms, tellSizes) {
  if (!tellSizes) return page.waitForTimeout(ms);
  const end = Date.now() + ms;
  let told = null;
  while (Date.now() < end) {
    const { width, height } = (await counts(page)).video;
    const size = `${width}x${height}`;
    if (size !== told) console.error(`passed: ${size}`);
    told = size;
    await page.waitForTimeout(100);
  }
}

/** Runs in the page. */
function clockFigures() {
  const delays = window.clock.delays.sort((a, b) => a - b);
  const at = (share) => delays[Math.floor((delays.length - 1) * share)];
  return { pictures: delays.length, unreadable: window.clock.unreadable, median_ms: at(0.5), p95_ms: at(0.95), max_ms: at(1) };
}
