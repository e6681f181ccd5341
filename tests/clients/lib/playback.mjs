// Judging a `<video>`: does it play, does it go on from where it was sent, does it stay in bounds.
import { must, until } from './run.mjs';

/** How far a player may land from where it was sent, seconds: a click's pixel and a frame. */
const SEEK_TOLERANCE_S = 0.75;

/** The element as plain data. */
export function look(page) {
  return page.evaluate(() => {
    const video = document.querySelector('video');
    return {
      time: video.currentTime,
      duration: video.duration,
      paused: video.paused,
      ended: video.ended,
      seeking: video.seeking,
      ready: video.readyState,
      muted: video.muted,
      volume: video.volume,
      width: video.videoWidth,
      height: video.videoHeight,
      frames: video.getVideoPlaybackQuality().totalVideoFrames,
      dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
      error: video.error && `${video.error.code} ${video.error.message}`,
    };
  });
}

/** Waits until the position has moved on by `seconds` from now, with new pictures; returns the state then. */
export async function plays(page, seconds, what) {
  const before = await look(page);
  const after = await until(
    `${what}: position to move from ${before.time.toFixed(2)} by ${seconds} s, with new pictures`,
    async () => {
      const now = await look(page);
      must(!now.error, `${what}: media error ${now.error}`);
      must(now.time >= before.time - 0.1, `${what}: position fell from ${before.time} to ${now.time}`);
      // The browser counts pictures in batches: few of them may be counted late.
      const moving = before.width === 0 || now.frames > before.frames;
      return ((now.time - before.time >= seconds && moving) || now.ended) && now;
    },
    30_000,
  );
  must(after.time <= after.duration + 0.1, `${what}: position ${after.time} is beyond the end ${after.duration}`);
  return after;
}

/** How much of a video of that length is a fair check of "it plays", seconds. */
export function fairShare(duration, wanted) {
  return Math.min(wanted, duration * 0.4);
}

/**
 * Seeks with `seekTo(seconds)` to places forward, near the end and back, and checks each time that playing goes on
 * from there. Returns what each took.
 */
export async function seekAround(page, seekTo) {
  const { duration } = await look(page);
  const margin = fairShare(duration, 1.5);
  const targets = [0.5, 0.2, 0.8].map((share) => share * duration).concat(duration - margin, 0.1 * duration);
  const seeks = [];
  for (const target of targets) {
    const began = Date.now();
    await seekTo(target);
    const landed = await until(`seek to ${target.toFixed(2)} to finish`, async () => {
      const now = await look(page);
      must(!now.error, `seek to ${target}: media error ${now.error}`);
      return !now.seeking && now.ready >= 2 && now;
    });
    const took = Date.now() - began;
    const ahead = landed.time - target;
    // It may have played on while being looked at.
    must(
      ahead >= -SEEK_TOLERANCE_S && ahead <= SEEK_TOLERANCE_S + took / 1000,
      `seek to ${target.toFixed(2)} landed at ${landed.time.toFixed(2)}`,
    );
    const after = await plays(page, fairShare(duration, 0.7), `after seek to ${target.toFixed(2)}`);
    seeks.push({ to: round(target), landed: round(landed.time), played_to: round(after.time), ms: took });
  }
  return seeks;
}

export function round(seconds) {
  return Math.round(seconds * 1000) / 1000;
}
