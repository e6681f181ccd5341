// Plays a ladder with one of the players on a page of another origin: from the start without a gap, every rendition by
// hand, all by itself on a line that becomes slow and fast again, and in every language.
import { look, plays, round } from './lib/playback.mjs';
import { complaints, withPlayer } from './lib/player-page.mjs';
import { integer, must, run, until } from './lib/run.mjs';

/** How late the first buffered picture may be, seconds: less than a picture of 30 a second. */
const START_GAP_MAX_S = 0.03;
/** A line on which only the lowest rendition of a ladder plays, bits per second, unless another is given. */
const SLOW_LINE = 700_000;
/** A line on which all of it plays. Players take what comes much faster than that for their cache. */
const FAST_LINE = 16_000_000;

const OPTIONS = {
  player: { type: 'string', default: 'hls.js' },
  codec: { type: 'string' },
  slow: { type: 'string' },
  'no-auto': { type: 'boolean', default: false },
  screenshot: { type: 'string' },
};

await run(['BASE', 'MANIFEST_URL'], OPTIONS, (input, results) => withPlayer(input, (page) => watch(page, input, results)));

async function watch(page, input, results) {
  results.start_gap_s = await startGap(page);
  must(results.start_gap_s <= START_GAP_MAX_S, `the first picture is ${results.start_gap_s} s late`);
  await page.evaluate(() => document.querySelector('video').play());
  const heights = await page.evaluate(() => player.heights().sort((a, b) => a - b));
  Object.assign(results, { duration: round((await look(page)).duration), heights, first: await playing(page) });
  await plays(page, 1, 'from the start');
  results.by_hand = await byHand(page, heights);
  if (!input['no-auto']) results.by_itself = await byItself(page, heights, integer(input.slow, 'slow') ?? SLOW_LINE);
  results.languages = await languages(page);
  if (input.screenshot) await page.screenshot({ path: input.screenshot });
  results.errors = await complaints(page);
}

function playing(page) {
  return page.evaluate(() => player.playing());
}

async function startGap(page) {
  return round(await page.evaluate(() => document.querySelector('video').buffered.start(0)));
}

/** Goes back to the start when what is left is too short for a test. */
async function roomToPlay(page, seconds) {
  await page.evaluate((needed) => {
    const video = document.querySelector('video');
    if (video.duration - video.currentTime < needed) video.currentTime = 0;
    if (video.paused) return video.play();
  }, seconds);
}

/** Waits until pictures of this height are on screen, and go on. */
async function shows(page, height, what, timeout = 30_000) {
  const began = Date.now();
  await until(what, async () => {
    await complaints(page);
    await roomToPlay(page, 3);
    return (await look(page)).height === height;
  }, timeout);
  await plays(page, 0.5, what);
  return Date.now() - began;
}

async function byHand(page, heights) {
  const took = {};
  for (const height of [...heights, ...heights.slice(0, -1).reverse()]) {
    await roomToPlay(page, 12);
    await page.evaluate((wanted) => player.choose(wanted), height);
    took[height] = await shows(page, height, `pictures of ${height} lines after they were chosen`);
  }
  return took;
}

async function byItself(page, heights, slowLine) {
  const [least, most] = [heights[0], heights[heights.length - 1]];
  const line = await page.context().newCDPSession(page);
  const speed = (bits) => line.send('Network.emulateNetworkConditions', {
    offline: false, latency: 0, downloadThroughput: bits / 8, uploadThroughput: -1,
  });
  await line.send('Network.enable');
  await page.evaluate((wanted) => player.choose(wanted), most);
  await shows(page, most, `pictures of ${most} lines`);
  await roomToPlay(page, 25);
  await page.evaluate(() => player.choose(null));
  await speed(slowLine);
  const down = await shows(page, least, `pictures of ${least} lines on a slow line`, 60_000);
  await speed(FAST_LINE);
  await roomToPlay(page, 25);
  const up = await shows(page, most, `pictures of ${most} lines on a fast line`, 60_000);
  return { down_ms: down, up_ms: up };
}

async function languages(page) {
  const found = [...new Set(await page.evaluate(() => player.languages()))];
  for (const language of found) {
    await roomToPlay(page, 8);
    await page.evaluate((wanted) => player.speak(wanted), language);
    await until(`sound in ${language}`, async () => (await page.evaluate(() => player.spoken())) === language);
    await plays(page, 1, `sound in ${language}`);
  }
  return found;
}
