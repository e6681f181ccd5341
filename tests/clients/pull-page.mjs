// Has a stream fetched from another server from its own page, with the keyboard, stops that, goes on and forgets it.
import { useRegion } from './lib/region.mjs';
import { until } from './lib/run.mjs';

await useRegion('Fetch from elsewhere', async ({ input, section, press, says, hides }) => {
  await section.getByLabel('Address').fill('gopher://example.org/live');
  await press('Fetch');
  await says('must begin with rtmp://');
  await section.getByLabel('Address').fill(input.SERVER);
  await section.getByLabel('key').fill(input.key);
  await press('Fetch');
  await says('Your stream comes from there.');
  await hides(section.getByLabel('key'));
  await press('Stop fetching');
  await says('Off.');
  await press('Fetch again');
  await says('Your stream comes from there.');
  await press('Forget…');
  await press('Forget');
  await until('nothing to be left', async () => (await section.getByRole('button', { name: 'Forget…' }).count()) === 0);
});
