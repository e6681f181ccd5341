// Opens the watch page of a video, plays it, seeks around and uses the keyboard; prints what was measured.
import { recordFirstFrame, withBrowser } from './lib/browser.mjs';
import { fairShare, look, plays, round, seekAround } from './lib/playback.mjs';
import { integer, must, run, until } from './lib/run.mjs';
import { signIn } from './lib/sign-in.mjs';

const OPTIONS = {
  user: { type: 'string' },
  password: { type: 'string' },
  'first-frame-max': { type: 'string' },
  screenshot: { type: 'string' },
};

await run(['BASE', 'VIDEO_ID'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    const base = input.BASE.replace(/\/$/, '');
    if (input.user) await signIn(page, base, input);
    const beats = watchBeats(page);
    await recordFirstFrame(page);
    await page.goto(`${base}/watch/${input.VIDEO_ID}`);
    await page.locator('[data-player] video').waitFor({ timeout: 20_000 });
    await until('a first frame', async () => (await look(page)).ready >= 2, 30_000);
    results.first_frame_ms = await firstFrame(page);
    await play(page, results);
    results.seeks = await seekAround(page, (seconds) => clickSlider(page, seconds));
    results.keys = await useKeys(page);
    if (input.screenshot) await page.screenshot({ path: input.screenshot });
    results.heartbeats = beats.length;
    results.trouble = trouble;
    must(trouble.length === 0, `the page had trouble: ${trouble.join(' | ')}`);
    must(beats.length > 0, 'no heartbeat was sent');
    must(
      beats.every((beat, i) => i === 0 || beat.seq > beats[i - 1].seq),
      `heartbeats are not numbered upwards: ${beats.map((beat) => beat.seq)}`,
    );
    const limit = integer(input['first-frame-max'], 'first-frame-max');
    must(!limit || results.first_frame_ms <= limit, `first frame after ${results.first_frame_ms} ms, allowed are ${limit}`);
  }),
);

function watchBeats(page) {
  const beats = [];
  page.on('request', (request) => {
    if (request.url().endsWith('/heartbeat')) beats.push(request.postDataJSON());
  });
  return beats;
}

async function firstFrame(page) {
  const { width } = await look(page);
  if (width === 0) return null; // sound only
  return Math.round(await until('the first frame callback', () => page.evaluate(() => window.firstFrameMs)));
}

async function play(page, results) {
  const { duration, width, height } = await look(page);
  must(duration > 0, `the player shows no duration: ${duration}`);
  Object.assign(results, { duration: round(duration), width, height });
  await page.locator('[data-player]').getByRole('button', { name: /^Play/ }).first().click();
  results.played_to = round((await plays(page, fairShare(duration, 2), 'after pressing play')).time);
}

/** Clicks the seek slider where a viewer would; a video that ended is started again. */
async function clickSlider(page, seconds) {
  const { duration, ended } = await look(page);
  const slider = page.getByRole('slider', { name: 'Position' });
  await page.locator('[data-player]').hover();
  const box = await slider.boundingBox();
  await slider.click({ position: { x: (seconds / duration) * box.width, y: box.height / 2 } });
  if (ended) await page.keyboard.press('k');
}

/** Presses every documented key once and checks what it did. */
async function useKeys(page) {
  const { duration } = await look(page);
  const press = async (key, what, holds) => {
    await page.keyboard.press(key);
    await until(`key ${key}: ${what}`, async () => holds(await look(page)), 5000);
  };
  const near = (time) => (state) => Math.abs(state.time - Math.min(Math.max(time, 0), state.duration)) < 0.3;
  await page.locator('[data-player]').getByRole('button', { name: /^(Play|Pause)$/ }).focus();
  if (!(await look(page)).paused) await press('k', 'pauses', (state) => state.paused);
  await press('Home', 'goes to the start', near(0));
  await press('l', 'goes forward 10 s', near(10));
  await press('j', 'goes back 10 s', near(Math.min(10, duration) - 10));
  await press('ArrowRight', 'goes forward 5 s', near(5));
  await press('ArrowLeft', 'goes back 5 s', near(Math.min(5, duration) - 5));
  await press('5', 'goes to the middle', near(duration / 2));
  await press('m', 'mutes', (state) => state.muted);
  await press('m', 'unmutes', (state) => !state.muted);
  await press('ArrowDown', 'lowers the volume', (state) => Math.abs(state.volume - 0.95) < 0.01);
  await press('ArrowUp', 'raises the volume', (state) => state.volume === 1);
  await press('f', 'fills the screen', () => page.evaluate(() => document.fullscreenElement !== null));
  await press('f', 'leaves full screen', () => page.evaluate(() => document.fullscreenElement === null));
  await press('?', 'opens the help', () => page.getByRole('dialog').isVisible());
  await press('Escape', 'closes the help', async () => !(await page.getByRole('dialog').isVisible()));
  await press('k', 'plays', (state) => !state.paused);
  await press(' ', 'on the play button pauses', (state) => state.paused);
  await press('End', 'goes to the end', near(duration));
  return 'all work';
}
