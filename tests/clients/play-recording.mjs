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
      await complaints(page);
      const now = await look(page);
      must(!now.error, `media error ${now.error}`);
      heights.add(now.height);
      return now.ended && now;
    }, 60_000);
    Object.assign(results, { duration: round(start.duration), frames: end.frames, heights: [...heights].sort((a, b) => a - b) });
    results.errors = await complaints(page);
  }),
);
