// Watches a video whose renditions are being made: the page takes them up without a break, its menus choose among them, the
// seek bar shows previews, and its owner chooses what stands for it.
import { withBrowser } from './lib/browser.mjs';
import { look, plays, round } from './lib/playback.mjs';
import { must, run, until } from './lib/run.mjs';
import { signIn } from './lib/sign-in.mjs';

/** How far the position may fall behind the clock while a manifest is taken up, seconds. */
const LAG_MAX_S = 1;
/** Slow enough that the video does not end while its renditions are made. */
const SLOW_RATE = 0.25;

const OPTIONS = {
  user: { type: 'string' },
  password: { type: 'string' },
  resume: { type: 'string' },
  screenshot: { type: 'string' },
};

await run(['BASE', 'VIDEO_ID'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    const base = input.BASE.replace(/\/$/, '');
    if (input.user) await signIn(page, base, input);
    await page.goto(`${base}/watch/${input.VIDEO_ID}`);
    await page.locator('[data-player]').getByRole('button', { name: /^Play/ }).first().click();
    await plays(page, 1, 'after pressing play');
    if (input.resume) results.grew = await grows(page, () => resume(base, input.resume));
    results.qualities = await menu(page);
    results.preview = await preview(page);
    if (input.user) results.picture = await picture(page);
    if (input.screenshot) await page.screenshot({ path: input.screenshot });
    results.trouble = trouble;
    must(trouble.length === 0, `the page had trouble: ${trouble.join(' | ')}`);
  }),
);

function options(page) {
  return page.getByLabel('Quality').locator('option').allTextContents();
}

/** Has the server, on which encoding is paused, go on with it. */
async function resume(base, token) {
  const answer = await fetch(`${base}/api/v1/admin/transcodes/resume`, { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
  must(answer.ok, `encoding is not resumed: ${answer.status}`);
}

/** Waits for more qualities than there are now; playing must not be disturbed by their coming. */
async function grows(page, begin) {
  const before = await options(page);
  await page.evaluate((rate) => {
    const video = document.querySelector('video');
    window.broken = [];
    video.playbackRate = rate;
    for (const type of ['waiting', 'emptied', 'seeking', 'pause']) video.addEventListener(type, () => window.broken.push(`${type} at ${video.currentTime}`));
    window.since = { clock: performance.now(), position: video.currentTime };
  }, SLOW_RATE);
  await begin();
  const after = await until('more qualities', async () => {
    const now = await options(page);
    return now.length > before.length && now;
  }, 80_000);
  await plays(page, 0.5, 'after the manifest was taken up');
  const { lag, broken } = await page.evaluate((rate) => {
    const { clock, position } = window.since;
    const video = document.querySelector('video');
    const lag = (rate * (performance.now() - clock)) / 1000 - (video.currentTime - position);
    video.playbackRate = 1;
    return { lag, broken: window.broken };
  }, SLOW_RATE);
  must(broken.length === 0, `playing was disturbed: ${broken.join(' | ')}`);
  must(lag < LAG_MAX_S, `the position fell behind by ${round(lag)} s`);
  return { before, after, lag_s: round(lag) };
}

/** Chooses every quality by the menu, and then none. */
async function menu(page) {
  const select = page.getByLabel('Quality');
  const offered = (await options(page)).filter((label) => !label.startsWith('Auto'));
  must(offered.length > 0, 'there is no quality to choose');
  for (const label of offered) {
    await page.evaluate(() => {
      const video = document.querySelector('video');
      if (video.duration - video.currentTime < 6) video.currentTime = 0;
      return video.play();
    });
    await select.selectOption({ label });
    const side = Number.parseInt(label, 10);
    await until(`pictures of ${label}`, async () => {
      const { width, height } = await look(page);
      return Math.min(width, height) === side;
    });
    await plays(page, 0.3, `pictures of ${label}`);
  }
  await select.selectOption('auto');
  await until('auto to say what plays', async () => (await options(page))[0].startsWith('Auto ('));
  return offered;
}

async function preview(page) {
  await page.locator('[data-player]').hover();
  const box = await page.getByRole('slider', { name: 'Position' }).boundingBox();
  await page.mouse.move(box.x + box.width * 0.6, box.y + box.height / 2);
  const shown = page.locator('[data-preview]');
  if ((await shown.count()) === 0) return null;
  const url = await shown.evaluate((element) => getComputedStyle(element).backgroundImage.match(/url\("(.*)"\)/)?.[1]);
  const status = await page.evaluate(async (address) => (await fetch(address)).status, url);
  must(status === 200, `the preview's sheet answers ${status}`);
  return shown.evaluate((element) => element.style.backgroundPosition);
}

/** Takes what the player shows as the video's picture. */
async function picture(page) {
  await page.getByRole('button', { name: 'Edit' }).click();
  await page.getByRole('button', { name: 'Take what the player shows' }).click();
  const chosen = page.getByRole('button', { name: /^Your choice/, pressed: true });
  await chosen.waitFor({ timeout: 30_000 });
  const loaded = await until('the picture', () => chosen.locator('img').evaluate((image) => image.naturalWidth));
  await page.getByRole('button', { name: 'Cancel' }).click();
  return { width: loaded };
}
