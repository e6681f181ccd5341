// A region of a stream's page that its owner uses with the keyboard.
import { withBrowser } from './browser.mjs';
import { must, run, until } from './run.mjs';
import { signIn } from './sign-in.mjs';

const OPTIONS = { user: { type: 'string' }, password: { type: 'string' }, key: { type: 'string' }, screenshot: { type: 'string' } };

/**
 * Signs in, opens the page of the stream LIVE_ID and has `body` use the region of that name: `{ input, section, press, says,
 * hides }` presses buttons, waits for words, and looks that the key is nowhere to be seen.
 */
export function useRegion(name, body) {
  return run(['BASE', 'LIVE_ID', 'SERVER'], OPTIONS, (input, results) =>
    withBrowser(async ({ page, trouble }) => {
      const base = input.BASE.replace(/\/$/, '');
      await signIn(page, base, input);
      await page.goto(`${base}/live/${input.LIVE_ID}`);
      const section = page.getByRole('region', { name });
      const press = async (button) => {
        await section.getByRole('button', { name: button, exact: true }).focus();
        await page.keyboard.press('Enter');
      };
      const says = (words) => until(`“${words}”`, async () => (await section.textContent()).includes(words));
      const hides = async (field) => {
        must(!(await page.content()).includes(input.key), 'the key is shown');
        must((await field.inputValue()) === '', 'the key stays in the form');
        if (input.screenshot) await page.screenshot({ path: input.screenshot, fullPage: true });
      };
      await body({ input, section, press, says, hides });
      // The browser itself tells of the request that was refused.
      results.trouble = trouble.filter((text) => !text.includes('422'));
      must(results.trouble.length === 0, `the page had trouble: ${results.trouble.join(' | ')}`);
    }),
  );
}
