// Publishes by WHIP from a page of another origin's making until it is ended, or until the server ends it. What has been passed is
// told on the error stream, line by line.
import { withBrowser } from './lib/browser.mjs';
import { must, run, until } from './lib/run.mjs';
import { WITH_CAMERA, connectionState, publish } from './lib/whip.mjs';

const OPTIONS = {
  token: { type: 'string' },
  codec: { type: 'string' },
  port: { type: 'string' },
  tcp: { type: 'boolean', default: false },
  width: { type: 'string' },
  height: { type: 'string' },
  layers: { type: 'string' },
  flash: { type: 'boolean', default: false },
  seconds: { type: 'string', default: '600' },
};

await run(['BASE', 'URL'], OPTIONS, (input, results) =>
  withBrowser(async ({ page }) => {
    await page.goto(`${input.BASE.replace(/\/$/, '')}/healthz`);
    Object.assign(results, await publish(page, { url: input.URL, ...input }));
    must(results.status === 201, `the server answers ${results.status}: ${results.answer}`);
    await until('a connection', async () => (await connectionState(page)) === 'connected');
    console.error('passed: connected');
    const end = Date.now() + Number(input.seconds) * 1000;
    while (Date.now() < end && ['connected', 'disconnected'].includes(await connectionState(page))) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    results.state = await connectionState(page);
    if (results.state === 'connected') results.deleted = await page.evaluate(() => window.whip.stop());
    console.error('passed: ended');
  }, WITH_CAMERA),
);
