// Has a stream sent to another server from its own page, with the keyboard, turns that off and removes it again.
import { withBrowser } from './lib/browser.mjs';
import { must, run, until } from './lib/run.mjs';
import { signIn } from './lib/sign-in.mjs';

const OPTIONS = { user: { type: 'string' }, password: { type: 'string' }, key: { type: 'string' }, screenshot: { type: 'string' } };

await run(['BASE', 'LIVE_ID', 'SERVER'], OPTIONS, (input, results) =>
  withBrowser(async ({ page, trouble }) => {
    const base = input.BASE.replace(/\/$/, '');
    await signIn(page, base, input);
    await page.goto(`${base}/live/${input.LIVE_ID}`);
    const section = page.getByRole('region', { name: 'Also send to' });
    const press = async (name) => {
      await section.getByRole('button', { name }).focus();
      await page.keyboard.press('Enter');
    };
    const says = (words) => until(`“${words}”`, async () => (await section.textContent()).includes(words));
    await section.getByLabel('Server').fill('http://example.org/live');
    await press('Add');
    await says('must begin with rtmp://');
    await section.getByLabel('Name').fill('Elsewhere');
    await section.getByLabel('Server').fill(input.SERVER);
    await section.getByLabel('Stream key of that service').fill(input.key);
    await press('Add');
    await says('Receives your stream.');
    must(!(await page.content()).includes(input.key), 'the key is shown');
    must((await section.getByLabel('Stream key of that service').inputValue()) === '', 'the key stays in the form');
    if (input.screenshot) await page.screenshot({ path: input.screenshot, fullPage: true });
    await press('Turn off Elsewhere');
    await says('Off.');
    await press('Remove…');
    await press('Remove');
    await until('an empty list', async () => (await section.getByRole('listitem').count()) === 0);
    // The browser itself tells of the request that was refused.
    results.trouble = trouble.filter((text) => !text.includes('422'));
    must(results.trouble.length === 0, `the page had trouble: ${results.trouble.join(' | ')}`);
  }),
);
