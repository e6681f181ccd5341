// Has a stream sent to another server from its own page, with the keyboard, turns that off and removes it again.
import { useRegion } from './lib/region.mjs';
import { until } from './lib/run.mjs';

await useRegion('Also send to', async ({ input, section, press, says, hides }) => {
  await section.getByLabel('Server').fill('http://example.org/live');
  await press('Add');
  await says('must begin with rtmp://');
  await section.getByLabel('Name').fill('Elsewhere');
  await section.getByLabel('Server').fill(input.SERVER);
  await section.getByLabel('Stream key of that service').fill(input.key);
  await press('Add');
  await says('Receives your stream.');
  await hides(section.getByLabel('Stream key of that service'));
  await press('Turn off Elsewhere');
  await says('Off.');
  await press('Remove…');
  await press('Remove');
  await until('an empty list', async () => (await section.getByRole('listitem').count()) === 0);
});
