// Watches a live stream on its page, in one document without a reload: waits for its start, plays it, goes back and live again,
// gets over its publisher's absence, and finds the recording at its end. What has been passed is told on the error stream,
// line by line: whoever runs this starts and stops the publisher by that.
import { withBrowser } from './lib/browser.mjs';
import { look, plays, round } from './lib/playback.mjs';
import { must, run, until } from './lib/run.mjs';
import { signIn } from './lib/sign-in.mjs';

/** In this order: each begins when the one before has passed. */
const PHASES = { waiting, plays: playsLive, afar, away, returns, ends };
/** How long whoever runs this may take to start or stop the publisher, and the server to notice. */
const PATIENCE_MS = 60_000;
/** How much there must be to go back in, seconds: ten, and the oldest three that a page does not go to. */
const WINDOW_S = 14;
/** How long a viewer is far away, and how long each part of the sound takes to come then: about as long as the last one of a segment plays. */
const AFAR_S = 15;
const DISTANCE_MS = 110;
/** How long the position may stand still meanwhile, seconds: machines that are busy are slow. */
const STANDSTILL_MAX_S = 2.5;
/** How far a key may miss while the stream goes on, seconds. */
const TOLERANCE_S = 1.5;

const OPTIONS = {
  phases: { type: 'string', default: Object.keys(PHASES).join(',') },
  'latency-max': { type: 'string', default: '4' },
  user: { type: 'string' },
  password: { type: 'string' },
  screenshot: { type: 'string' },
};

await run(['BASE', 'LIVE_ID'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    const base = input.BASE.replace(/\/$/, '');
    const phases = input.phases.split(',');
    must(phases.every((phase) => PHASES[phase]), `phases are ${Object.keys(PHASES)}`);
    if (input.user) await signIn(page, base, input);
    await page.goto(`${base}/live/${input.LIVE_ID}`);
    await page.evaluate(() => (window.isFirstDocument = true));
    for (const phase of phases) {
      results[phase] = await PHASES[phase](page, Number(input['latency-max']));
      if (input.screenshot) await page.screenshot({ path: `${input.screenshot}-${phase}.png`, fullPage: true });
      console.error(`passed: ${phase}`);
    }
    must(await page.evaluate(() => window.isFirstDocument === true), 'the page was loaded anew');
    // With a publisher away the server answers reloads of the playlist so.
    const isAbsence = (line) => /^503 GET .*\/media\.m3u8/.test(line);
    results.trouble = trouble.filter((line) => !isAbsence(line));
    must(results.trouble.length === 0, `the page had trouble: ${results.trouble.join(' | ')}`);
  }),
);

function inPlayer(page) {
  return page.locator('[data-player]');
}

function goLive(page) {
  return inPlayer(page).getByRole('button', { name: 'Go live' });
}

/** What the player shows of the stream. */
function edge(page) {
  return inPlayer(page).evaluate((player) => {
    const { min, max, value } = player.querySelector('input[type=range]');
    const shown = player.querySelector('[data-latency]');
    return {
      start: Number(min),
      end: Number(max),
      time: Number(value),
      latency: shown ? Number(shown.dataset.latency) : null,
      text: shown?.lastElementChild?.textContent ?? shown?.textContent.trim(),
    };
  });
}

/** Nothing black, no error: words. */
async function waiting(page) {
  await page.getByText('Waiting for the stream to start', { exact: true }).waitFor();
  must((await page.locator('video').count()) === 0, 'there is a player with nothing to play');
  return true;
}

async function playsLive(page, latencyMax) {
  await page.locator('[data-player] video').waitFor({ timeout: PATIENCE_MS });
  // Nobody touched the page: browsers let it begin with a press only.
  const press = inPlayer(page).getByRole('button', { name: /^Play ./ });
  await until('the stream to play, or a button to play it', async () => (await press.isVisible()) || (await look(page)).time > 0);
  if (await press.isVisible()) await press.click();
  const watched = await isLive(page, latencyMax, 'after its start');
  watched.back = await goesBack(page);
  await goLive(page).click();
  watched.again = await isLive(page, latencyMax, 'after going live again');
  await page.keyboard.press('ArrowLeft');
  await goLive(page).waitFor();
  await page.keyboard.press('End');
  await isLive(page, latencyMax, 'after the End key');
  return watched;
}

/** Plays at the live edge, and says how far behind its publisher. */
async function isLive(page, latencyMax, when) {
  await plays(page, 3, when);
  await inPlayer(page).getByRole('button', { name: 'Live', exact: true }).waitFor();
  const { latency, text } = await until(`${when}: the latency, at most ${latencyMax} s`, async () => {
    const now = await edge(page);
    return now.latency !== null && now.latency > 0 && now.latency <= latencyMax && now;
  });
  must(/ s behind$/.test(text), `${when}: it says "${text}"`);
  return { latency: round(latency), text };
}

/** Goes back by keys: by ten seconds, and to the oldest there is. */
async function goesBack(page) {
  await until(`${WINDOW_S} s to go back in`, async () => {
    const { start, time } = await edge(page);
    return time - start >= WINDOW_S;
  }, PATIENCE_MS);
  await inPlayer(page).getByRole('button', { name: 'Pause' }).focus();
  await page.evaluate(noteLeap);
  await page.keyboard.press('j');
  await goLive(page).waitFor();
  await until('ten seconds back', async () => {
    const now = await look(page);
    return !now.seeking && now.ready >= 2;
  });
  const { from, to } = await page.evaluate(() => window.leap);
  must(Math.abs(to - (from - 10)) < TOLERANCE_S, `j went to ${to} from ${from}`);
  await plays(page, 1, 'ten seconds back');
  const { text } = await edge(page);
  must(/^−\d+:\d\d$/.test(text), `ten seconds back it says "${text}"`);
  const read = await page.getByRole('slider', { name: 'Position' }).getAttribute('aria-valuetext');
  must(/ before live$/.test(read), `ten seconds back the slider says "${read}"`);
  await page.keyboard.press('Home');
  const { start } = await edge(page);
  await until('the oldest there is', async () => {
    const now = await look(page);
    return !now.seeking && now.time - start < 3 + TOLERANCE_S;
  });
  const { time } = await plays(page, 1, 'at the oldest');
  return { text, read, oldest: round(time - start) };
}

/** Parts of sound come late: nothing is left out. */
async function afar(page) {
  const sound = /\/a\d+\/[^/]+\.m4s/;
  await page.route(sound, async (route) => {
    await new Promise((arrived) => setTimeout(arrived, DISTANCE_MS));
    await route.continue();
  });
  let [longest, moved] = [0, Date.now()];
  let { time } = await look(page);
  for (const end = Date.now() + AFAR_S * 1000; Date.now() < end; await page.waitForTimeout(100)) {
    const now = await look(page);
    if (now.time !== time) moved = Date.now();
    longest = Math.max(longest, (Date.now() - moved) / 1000);
    time = now.time;
  }
  await page.unroute(sound, { behavior: 'wait' });
  must(longest < STANDSTILL_MAX_S, `far away it stood still for ${round(longest)} s`);
  return { longest: round(longest) };
}

/** The publisher is gone: the page says so, and nothing breaks. */
async function away(page) {
  await inPlayer(page).getByText('The broadcaster is away').first().waitFor({ timeout: PATIENCE_MS });
  must((await inPlayer(page).getByRole('button', { name: 'Try again' }).count()) === 0, 'it gave up');
  return true;
}

/** The publisher is back: it goes on by itself. */
async function returns(page, latencyMax) {
  const { time } = await look(page);
  await until('the page to go on', async () => (await look(page)).time > time + 1, PATIENCE_MS);
  const back = await isLive(page, latencyMax + 2, 'after the return');
  must((await inPlayer(page).getByText('The broadcaster is away').count()) === 0, 'it still says that the broadcaster is away');
  return back;
}

/** It has ended: the page says so and leads to the recording, which plays. */
async function ends(page) {
  await inPlayer(page).getByText('The stream has ended').waitFor({ timeout: PATIENCE_MS });
  const link = inPlayer(page).getByRole('link', { name: 'Watch the recording' });
  await link.waitFor();
  const path = await link.getAttribute('href');
  await link.click();
  await page.waitForURL(`**${path}`);
  await page.locator('[data-player] video').waitFor();
  await inPlayer(page).getByRole('button', { name: /^Play/ }).first().click();
  const { duration } = await plays(page, 1, 'the recording');
  return { path, duration: round(duration) };
}

/** Runs in the page: notes from where to where the next key has the player go, whatever it has played by the time that one asks. */
function noteLeap() {
  const video = document.querySelector('video');
  const note = (name) => () => Object.assign((window.leap ??= {}), { [name]: video.currentTime });
  document.addEventListener('keydown', note('from'), { capture: true, once: true });
  video.addEventListener('seeking', note('to'), { once: true });
}
