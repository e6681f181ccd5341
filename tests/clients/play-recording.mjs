// Plays a video from its start to its end with one of the players, faster than it was taken, and says which sizes of picture it
// saw: what was recorded of a live stream goes on over its publisher's returns.
import { look, round } from './lib/playback.mjs';
import { complaints, withPlayer } from './lib/player-page.mjs';
import { must, run, until } from './lib/run.mjs';

const SPEED = 2;

await run(['BASE', 'MANIFEST_URL'], { player: { type: 'string', default: 'hls.js' } }, (input, results) =>
  withPlayer(input, async (page) => {
    const heights = new Set();
    const start = await look(page);
    await page.evaluate((speed) => {
      const video = document.querySelector('video');
      video.playbackRate = speed;
      return video.play();
    }, SPEED);
    const end = await until('the end', async () => {
      const now = await look(page);
      // Told even if it does not come to its end.
      Object.assign(results, { at: round(now.time), ready: now.ready, buffered: await page.evaluate(buffered), errors: await complaints(page) });
      must(!now.error, `media error ${now.error}`);
      heights.add(now.height);
      return now.ended && now;
    }, 60_000);
    Object.assign(results, { duration: round(start.duration), frames: end.frames, heights: [...heights].sort((a, b) => a - b) });
  }),
);

/** Runs in the page: what is there to be played. */
function buffered() {
  const { buffered: ranges } = document.querySelector('video');
  return Array.from({ length: ranges.length }, (_, index) => [ranges.start(index), ranges.end(index)]);
}
