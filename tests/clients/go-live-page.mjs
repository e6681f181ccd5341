// Goes live from a stream's own page with the browser's camera, until it is told to stop there, and says what the page says.
import { withBrowser } from './lib/browser.mjs';
import { must, run, until } from './lib/run.mjs';
import { signIn } from './lib/sign-in.mjs';
import { WITH_CAMERA } from './lib/whip.mjs';

const OPTIONS = { user: { type: 'string' }, password: { type: 'string' }, seconds: { type: 'string', default: '5' }, screenshot: { type: 'string' } };

await run(['BASE', 'LIVE_ID'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    const base = input.BASE.replace(/\/$/, '');
    await signIn(page, base, input);
    await page.goto(`${base}/live/${input.LIVE_ID}`);
    const section = page.getByRole('region', { name: 'Go live from this browser' });
    const press = async (name) => {
      const button = section.getByRole('button', { name });
      await button.focus();
      await page.keyboard.press('Enter');
    };
    await press('Show preview');
    const preview = section.getByLabel('Preview of what viewers see');
    await until('a preview', () => preview.evaluate((video) => video.videoWidth > 0 && video.currentTime > 0).catch(() => false));
    await press('Go live');
    await until('the page to say so', async () => (await section.getByRole('status').first().textContent())?.includes('You are live.'));
    console.error('passed: live');
    await new Promise((resolve) => setTimeout(resolve, Number(input.seconds) * 1000));
    if (input.screenshot) await page.screenshot({ path: input.screenshot, fullPage: true });
    await press('Stop');
    results.said = await section.getByRole('status').first().textContent();
    must(results.said.includes('not live any more'), `it says ${results.said}`);
    await section.getByRole('button', { name: 'Show preview' }).waitFor();
    results.trouble = trouble;
    must(trouble.length === 0, `the page had trouble: ${trouble.join(' | ')}`);
    console.error('passed: stopped');
  }, WITH_CAMERA),
);
