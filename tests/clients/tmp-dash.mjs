import fs from 'node:fs/promises';
import { LIVE_PLAYERS } from './lib/live-players.mjs';
import { withBrowser } from './lib/browser.mjs';
import { serve } from './lib/site.mjs';
const [name, url, secs] = process.argv.slice(2);
const chosen = LIVE_PLAYERS[name];
const site = await serve({ '/': ['text/html', '<!doctype html><video muted width=320></video><script src=/library.js></script><script src=/adapter.js></script>'], '/library.js': ['text/javascript', await fs.readFile(chosen.library())], '/adapter.js': ['text/javascript', chosen.adapter.replace('LOG_LEVEL_ERROR', 'LOG_LEVEL_INFO')] });
const t0 = Date.now();
const say = (...a) => console.log(((Date.now() - t0) / 1000).toFixed(1), ...a);
await withBrowser(async ({ page, trouble }) => {
  page.on('console', (m) => say('C', m.text().slice(0, 300)));
  page.on('response', (r) => { if (r.status() >= 400) say('R', r.status(), r.url()); });
  await page.goto(site.origin);
  await page.evaluate((source) => window.start(document.querySelector('video'), source), url);
  for (let i = 0; i < Number(secs); i++) {
    await page.waitForTimeout(1000);
    say('T', JSON.stringify(await page.evaluate(() => { const v = document.querySelector('video'); const b = []; for (let i = 0; i < v.buffered.length; i++) b.push([v.buffered.start(i), v.buffered.end(i)]); return { t: v.currentTime, ready: v.readyState, b, e: player.errors, behind: player.behind(), paused: v.paused, seeking: v.seeking }; })));
  }
});
site.close();
