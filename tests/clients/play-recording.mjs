// Plays a video from its start to its end with one of the players, faster than it was taken, and says which sizes of picture it
// saw: what was recorded of a live stream goes on over its publisher's returns.
import { look, round } from './lib/playback.mjs';
import { complaints, withPlayer } from './lib/player-page.mjs';
import { must, run, until } from './lib/run.mjs';

const SPEED = 2;
/** How near to its end, and for how long, hls.js may stand instead of telling the end: where a publisher's sound ended before its
    pictures it has seeked over the hole in the sound, and does not end the media source then. */
const [END_S, STANDS_MS] = [0.1, 5000];

await run(['BASE', 'MANIFEST_URL'], { player: { type: 'string', default: 'hls.js' } }, (input, results) =>
  withPlayer(input, async (page) => {
    const heights = new Set();
    let nearSince = null;
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
      const isNear = input.player === 'hls.js' && now.duration - now.time < END_S;
      nearSince = isNear ? nearSince ?? Date.now() : null;
      return (now.ended || (isNear && Date.now() - nearSince > STANDS_MS)) && now;
    }, 60_000);
    Object.assign(results, { ended: end.ended, duration: round(start.duration), frames: end.frames, heights: [...heights].sort((a, b) => a - b) });
  }),
);

/** Runs in the page: what is there to be played. */
function buffered() {
  const { buffered: ranges } = document.querySelector('video');
  return Array.from({ length: ranges.length }, (_, index) => [ranges.start(index), ranges.end(index)]);
}
