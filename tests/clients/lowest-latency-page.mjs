// Watches a live stream on its page with the lowest latency, chosen by keys; then takes WebRTC away and sees that the page goes on by
// itself. What has been passed is told on the error stream, line by line.
import { withBrowser } from './lib/browser.mjs';
import { must, run, until } from './lib/run.mjs';
import { WITH_LOOPBACK } from './lib/whep.mjs';

const OPTIONS = { screenshot: { type: 'string' } };

await run(['BASE', 'LIVE_ID'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    const base = input.BASE.replace(/\/$/, '');
    const video = page.locator('[data-player] video');
    const choice = page.locator('[data-player]').getByRole('combobox', { name: 'Latency' });
    const isRealtime = () => video.evaluate((element) => element.srcObject !== null);
    const goesOn = async (what) => {
      const shown = () => video.evaluate((element) => element.getVideoPlaybackQuality().totalVideoFrames);
      const before = await shown();
      await until(what, async () => (await shown()) > before + 30);
    };
    await page.goto(`${base}/live/${input.LIVE_ID}`);
    await until('the choice', () => choice.isVisible());
    must((await choice.inputValue()) === 'low' && !(await isRealtime()), 'it is not chosen by itself');
    await choice.focus();
    await page.keyboard.press('ArrowDown');
    await until('the choice to be taken', async () => (await choice.inputValue()) === 'lowest');
    await until('media over WebRTC', isRealtime);
    await goesOn('pictures over WebRTC');
    if (input.screenshot) await page.screenshot({ path: input.screenshot });
    const live = page.locator('[data-player]').getByRole('button', { name: 'Live', exact: true });
    await until('the page to say that it is live', () => live.isVisible());
    console.error('passed: lowest');
    await page.reload();
    await until('what was chosen before', isRealtime);
    await goesOn('pictures over WebRTC after a reload');
    console.error('passed: remembered');
    // As behind a firewall that lets nothing of it through.
    await page.route('**/whep', (route) => route.abort());
    await page.reload();
    await until('what every browser plays', async () => (await choice.inputValue()) === 'low' && !(await isRealtime()));
    await until('the page to say so', async () => (await page.getByRole('status').allTextContents()).some((text) => text.includes('lowest latency does not work')));
    await goesOn('pictures over HLS');
    console.error('passed: fell back');
    results.trouble = trouble.filter((line) => !line.includes('/whep'));
    must(results.trouble.length === 0, `the page had trouble: ${results.trouble.join(' | ')}`);
  }, WITH_LOOPBACK),
);
