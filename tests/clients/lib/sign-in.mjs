/** Signs in by the page. */
export async function signIn(page, base, { user, password }) {
  await page.goto(`${base}/login`);
  await page.getByLabel('Username').fill(user);
  await page.getByLabel('Password').fill(password ?? '');
  await page.locator('form').getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('link', { name: /^Account of/ }).waitFor();
}
