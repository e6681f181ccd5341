// Plays a manifest with plain hls.js on a page of another origin, which only works when the server allows it.
import { recordFirstFrame, withBrowser } from './lib/browser.mjs';
import { serveHls } from './lib/hls-page.mjs';
import { fairShare, look, plays, round, seekAround } from './lib/playback.mjs';
import { must, run, until } from './lib/run.mjs';

const PLAY = `
const hls = new Hls();
window.errors = [];
hls.on(Hls.Events.ERROR, (_, error) => errors.push([error.fatal ? 'fatal' : 'minor', error.details, error.reason ?? error.error?.message ?? ''].join(' ')));
hls.on(Hls.Events.MANIFEST_PARSED, () => document.querySelector('video').play());
hls.loadSource(new URLSearchParams(location.search).get('src'));
hls.attachMedia(document.querySelector('video'));
window.hls = hls;`;

await run(['BASE', 'MANIFEST_URL'], { screenshot: { type: 'string' } }, async (input, results) => {
  const manifest = new URL(input.MANIFEST_URL, input.BASE).href;
  const server = await serveHls(PLAY);
  const origin = `http://127.0.0.1:${server.address().port}`;
  must(new URL(manifest).origin !== origin, 'the manifest must be of another origin than the page');
  try {
    await withBrowser(({ page, trouble }) => watch(page, trouble, { origin, manifest, input, results }));
  } finally {
    server.close();
  }
});

async function watch(page, trouble, { origin, manifest, input, results }) {
  await recordFirstFrame(page);
  await page.goto(`${origin}/?src=${encodeURIComponent(manifest)}`);
  await until('enough to play', async () => {
    const errors = await page.evaluate(() => window.errors);
    must(!errors.some((error) => error.startsWith('fatal')), `hls.js gave up: ${errors.join(' | ')}`);
    return (await look(page)).ready >= 2;
  }, 30_000);
  const { duration, width, height } = await look(page);
  Object.assign(results, { duration: round(duration), width, height }, await describe(page));
  results.played_to = round((await plays(page, fairShare(duration, 2), 'from the start')).time);
  results.seeks = await seekAround(page, (seconds) =>
    page.evaluate((to) => {
      const video = document.querySelector('video');
      video.currentTime = to;
      return video.play();
    }, seconds),
  );
  results.first_frame_ms = width > 0 ? Math.round(await page.evaluate(() => window.firstFrameMs)) : null;
  results.errors = await page.evaluate(() => window.errors);
  results.trouble = trouble;
  if (input.screenshot) await page.screenshot({ path: input.screenshot });
  must(trouble.length === 0, `the page had trouble: ${trouble.join(' | ')}`);
  const serious = results.errors.filter((error) => !isLeadIn(error) && !isBusy(error));
  must(serious.length === 0, `hls.js reported: ${serious.join(' | ')}`);
}

/**
 * hls.js places the first *decode* time at zero, so that pictures begin as much later as the encoder reordered them (two
 * or three frames), and it steps over that.
 */
function isLeadIn(error) {
  const hole = error.match(/bufferSeekOverHole .*seeking from 0 to ([\d.]+)/);
  return hole !== null && Number(hole[1]) < 0.3;
}

/** What it reports when the browser does not play what it has: on a machine that is too busy. That it goes on is looked at above. */
function isBusy(error) {
  return error.startsWith('minor bufferStalledError');
}

/** What hls.js made of the multivariant playlist. */
function describe(page) {
  return page.evaluate(() => ({
    levels: hls.levels.map(({ width, height, bitrate, codecSet, attrs }) => ({ width, height, bitrate, codecs: attrs.CODECS ?? codecSet })),
    audio_tracks: hls.audioTracks.map(({ name, lang, groupId }) => ({ name, lang, group: groupId })),
  }));
}
