// A new creator's way through the page alone: register, upload a file by the form, wait, follow the link, watch.
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { recordFirstFrame, withBrowser } from './lib/browser.mjs';
import { fairShare, look, plays, round } from './lib/playback.mjs';
import { must, run, until } from './lib/run.mjs';

const OPTIONS = {
  title: { type: 'string' },
  privacy: { type: 'string', default: 'public' },
  // Slows the upload down, pauses and resumes it half-way.
  pause: { type: 'boolean', default: false },
  // Slows the upload down, loads the page anew half-way, chooses the file again and goes on.
  reload: { type: 'boolean', default: false },
  screenshot: { type: 'string' },
};
/** Bytes per second while an upload is to be interrupted. */
const SLOW = 500_000;

await run(['BASE', 'FILE'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    const base = input.BASE.replace(/\/$/, '');
    results.username = `u${randomBytes(6).toString('hex')}`;
    results.password = randomBytes(12).toString('hex');
    await register(page, base, results);
    const throttle = await throttler(page);
    await throttle(input.pause || input.reload ? SLOW : -1);
    await fillForm(page, input);
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    if (input.reload) results.resumed_at_bytes = await reloadHalfWay(page, input);
    if (input.pause) results.paused_at_percent = await pauseHalfWay(page);
    await throttle(-1);
    const began = Date.now();
    results.video_id = await waitPlayable(page);
    results.playable_ms = Date.now() - began;
    await recordFirstFrame(page);
    await page.getByRole('link', { name: 'Watch it' }).click();
    await page.locator('[data-player] video').waitFor();
    await until('a first frame', async () => (await look(page)).ready >= 2, 30_000);
    const { duration } = await look(page);
    await page.locator('[data-player]').getByRole('button', { name: /^Play/ }).first().click();
    results.played_to = round((await plays(page, fairShare(duration, 2), 'after pressing play')).time);
    results.duration = round(duration);
    if (input.screenshot) await page.screenshot({ path: input.screenshot });
    await page.goto(`${base}/?show=mine`);
    await page.getByRole('heading', { level: 2, name: titleOf(input) }).waitFor();
    results.trouble = trouble;
    must(trouble.length === 0, `the page had trouble: ${trouble.join(' | ')}`);
  }),
);

function titleOf(input) {
  return input.title ?? `Clip ${path.basename(input.FILE)}`;
}

async function register(page, base, { username, password }) {
  await page.goto(`${base}/`);
  await page.getByRole('link', { name: 'Register' }).click();
  await page.getByLabel('Username').fill(username);
  await page.getByLabel('E-mail').fill(`${username}@example.org`);
  await page.getByLabel('Password').fill(password);
  await page.locator('form').getByRole('button', { name: 'Register' }).click();
  await page.getByRole('link', { name: /^Account of/ }).waitFor();
}

async function fillForm(page, input) {
  await page.getByRole('link', { name: 'Upload', exact: true }).click();
  await page.locator('input[type=file]').setInputFiles(input.FILE);
  await page.getByLabel('Title').fill(titleOf(input));
  await page.getByLabel('Description').fill('Uploaded through the page.');
  await page.getByLabel('Tags').fill('test, clip');
  await page.locator(`input[name=privacy][value=${input.privacy}]`).check();
}

async function throttler(page) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Network.enable');
  return (bytesPerSecond) =>
    devtools.send('Network.emulateNetworkConditions', {
      offline: false,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput: bytesPerSecond,
    });
}

async function percentAtLeast(page, percent) {
  const bar = page.getByRole('progressbar', { name: 'Upload progress' });
  return until(`${percent} % uploaded`, async () => {
    const value = Number((await bar.getAttribute('value')) ?? 0);
    return value >= percent && value;
  }, 60_000);
}

async function pauseHalfWay(page) {
  await percentAtLeast(page, 20);
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('status').filter({ hasText: 'Paused' }).waitFor();
  const bar = page.getByRole('progressbar', { name: 'Upload progress' });
  const paused = await bar.getAttribute('value');
  await page.waitForTimeout(700); // long enough for bytes to go on if they did
  must((await bar.getAttribute('value')) === paused, 'the upload went on while it was paused');
  await page.getByRole('button', { name: 'Resume' }).click();
  return Math.round(Number(paused));
}

async function reloadHalfWay(page, input) {
  await percentAtLeast(page, 20);
  page.once('dialog', (dialog) => dialog.accept());
  await page.reload();
  await page.getByRole('heading', { name: 'Unfinished uploads' }).waitFor();
  await page.locator('input[type=file]').setInputFiles(input.FILE);
  must((await page.getByLabel('Title').inputValue()) === titleOf(input), 'the details given before the reload were lost');
  const offsets = [];
  page.on('response', async (response) => {
    if (response.request().method() === 'HEAD') offsets.push(Number(response.headers()['upload-offset']));
  });
  await page.getByRole('button', { name: 'Continue upload' }).click();
  await until('the server to be asked where to go on', () => offsets.length > 0);
  must(offsets[0] > 0, 'the upload began anew after the reload');
  return offsets[0];
}

/** Waits for the link to the watch page; the page's own words on failure. */
async function waitPlayable(page) {
  const link = page.getByRole('link', { name: 'Watch it' });
  await until('the video to become playable', async () => {
    const alert = page.getByRole('alert');
    must((await alert.count()) === 0, `the page says: ${(await alert.allInnerTexts()).join(' ')}`);
    return link.isVisible();
  }, 120_000);
  const href = await link.getAttribute('href');
  return href.split('/').pop();
}
