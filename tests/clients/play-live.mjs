// Plays a live stream with plain hls.js at low latency, on a page of another origin: it starts, stays close to the live edge by
// the stream's own clock, and goes on.
import { withBrowser } from './lib/browser.mjs';
import { serveHls } from './lib/hls-page.mjs';
import { look, round } from './lib/playback.mjs';
import { must, run, until } from './lib/run.mjs';

const PLAY = `
const hls = new Hls({ lowLatencyMode: true });
const video = document.querySelector('video');
window.errors = [];
window.stalls = 0;
hls.on(Hls.Events.ERROR, (_, error) => errors.push([error.fatal ? 'fatal' : 'minor', error.details, error.reason ?? error.error?.message ?? ''].join(' ')));
hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
hls.loadSource(new URLSearchParams(location.search).get('src'));
hls.attachMedia(video);
video.addEventListener('playing', () => video.addEventListener('waiting', () => (window.stalls += 1)), { once: true });
window.hls = hls;`;

/** What hls.js reports of itself on a machine that is too busy to play. */
const CATCHING_UP = ['bufferStalledError', 'bufferNudgeOnStall', 'bufferSeekOverHole'];

/** How long it is watched, milliseconds. */
const WATCHED_MS = 10_000;

await run(['BASE', 'MANIFEST_URL'], { 'latency-max': { type: 'string', default: '6' } }, async (input, results) => {
  const manifest = new URL(input.MANIFEST_URL, input.BASE).href;
  const server = await serveHls(PLAY);
  try {
    await withBrowser(({ page, trouble }) => watch(page, trouble, { server, manifest, input, results }));
  } finally {
    server.close();
  }
});

async function watch(page, trouble, { server, manifest, input, results }) {
  await page.goto(`http://127.0.0.1:${server.address().port}/?src=${encodeURIComponent(manifest)}`);
  await until('the live edge', async () => {
    const errors = await page.evaluate(() => window.errors);
    must(!errors.some((error) => error.startsWith('fatal')), `hls.js gave up: ${errors.join(' | ')}`);
    const now = await look(page);
    return now.time > 0 && !now.paused && now.ready >= 3;
  }, 30_000);
  await page.waitForTimeout(2000);
  const before = { ...(await look(page)), stalls: await page.evaluate(() => window.stalls) };
  await page.waitForTimeout(WATCHED_MS);
  const after = await look(page);
  const { latency, behind, stalls, errors, low } = await page.evaluate(() => ({
    latency: hls.latency,
    behind: (Date.now() - hls.playingDate.getTime()) / 1000,
    stalls: window.stalls,
    errors: window.errors,
    low: hls.levels[0].details.canBlockReload,
  }));
  Object.assign(results, { latency_s: round(latency), behind_s: round(behind), stalls: stalls - before.stalls, errors, trouble });
  must(low, 'the playlist does not offer blocking reloads');
  // How smoothly is for a quiet machine to tell: here it must not stay behind.
  must(after.time - before.time > (WATCHED_MS / 1000) * 0.5, `only ${round(after.time - before.time)} s were played`);
  must(after.frames > before.frames, 'no pictures are decoded');
  must(behind < Number(input['latency-max']), `${round(behind)} s behind the publisher`);
  const wrong = errors.filter((error) => !CATCHING_UP.some((minor) => error.includes(minor)));
  must(wrong.length === 0, `hls.js reported: ${wrong.join(' | ')}`);
  must(trouble.length === 0, `the page had trouble: ${trouble.join(' | ')}`);
}
