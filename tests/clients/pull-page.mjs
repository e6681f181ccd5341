// Has a stream fetched from another server from its own page, with the keyboard, stops that, goes on and forgets it.
import { withBrowser } from './lib/browser.mjs';
import { must, run, until } from './lib/run.mjs';
import { signIn } from './lib/sign-in.mjs';

const OPTIONS = { user: { type: 'string' }, password: { type: 'string' }, key: { type: 'string' }, screenshot: { type: 'string' } };

await run(['BASE', 'LIVE_ID', 'SERVER'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    const base = input.BASE.replace(/\/$/, '');
    await signIn(page, base, input);
    await page.goto(`${base}/live/${input.LIVE_ID}`);
    const section = page.getByRole('region', { name: 'Fetch from elsewhere' });
    const press = async (name) => {
      await section.getByRole('button', { name, exact: true }).focus();
      await page.keyboard.press('Enter');
    };
    const says = (words) => until(`“${words}”`, async () => (await section.textContent()).includes(words));
    await section.getByLabel('Address').fill('gopher://example.org/live');
    await press('Fetch');
    await says('must begin with rtmp://');
    await section.getByLabel('Address').fill(input.SERVER);
    await section.getByLabel('key').fill(input.key);
    await press('Fetch');
    await says('Your stream comes from there.');
    must(!(await page.content()).includes(input.key), 'the key is shown');
    must((await section.getByLabel('key').inputValue()) === '', 'the key stays in the form');
    if (input.screenshot) await page.screenshot({ path: input.screenshot, fullPage: true });
    await press('Stop fetching');
    await says('Off.');
    await press('Fetch again');
    await says('Your stream comes from there.');
    await press('Forget…');
    await press('Forget');
    await until('nothing to be left', async () => (await section.getByRole('button', { name: 'Forget…' }).count()) === 0);
    // The browser itself tells of the request that was refused.
    results.trouble = trouble.filter((text) => !text.includes('422'));
    must(results.trouble.length === 0, `the page had trouble: ${results.trouble.join(' | ')}`);
  }),
);
