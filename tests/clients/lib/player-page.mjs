// A page with one of the players, on an origin of its own.
import fs from 'node:fs/promises';
import { withBrowser } from './browser.mjs';
import { look } from './playback.mjs';
import { PLAYERS } from './players.mjs';
import { must, until } from './run.mjs';
import { serve } from './site.mjs';

const PAGE = `<!doctype html><meta charset="utf-8"><title>Player</title><link rel="icon" href="data:,">
<video muted playsinline width="1280" height="720"></video><script src="/library.js"></script><script src="/adapter.js"></script>`;

/** Loads the manifest of `input` with the player that it names, and hands the page to `watch` once there is enough to play. */
export async function withPlayer(input, watch, players = PLAYERS) {
  const chosen = players[input.player];
  must(chosen, `--player must be one of ${Object.keys(players).join(', ')}`);
  const manifest = new URL(input.MANIFEST_URL, input.BASE).href;
  const site = await serve({
    '/': ['text/html', PAGE],
    '/library.js': ['text/javascript', await fs.readFile(chosen.library())],
    '/adapter.js': ['text/javascript', chosen.adapter],
  });
  const url = input.codec ? `${site.origin}/?codec=${input.codec}` : site.origin;
  try {
    await withBrowser(async ({ page, trouble }) => {
      await page.goto(url);
      await page.evaluate(([source, options]) => window.start(document.querySelector('video'), source, options), [manifest, input]);
      await until('enough to play', async () => {
        await complaints(page);
        return (await look(page)).ready >= 3;
      }, 30_000);
      await watch(page);
      must(trouble.length === 0, `the page had trouble: ${trouble.join(' | ')}`);
    }, { flags: ['--autoplay-policy=no-user-gesture-required'] });
  } finally {
    site.close();
  }
}

/** What the player complained of; a fatal complaint fails. */
export async function complaints(page) {
  const errors = await page.evaluate(() => window.player?.errors ?? []);
  must(!errors.some((error) => error.startsWith('fatal')), `the player gave up: ${errors.join(' | ')}`);
  return errors;
}
