// Watches a live session from outside and checks it against the specifications that it claims to follow. Shares no code with
// the server, and none with players.
import { integer, must, run } from './lib/run.mjs';
import { validate } from './lib/validity/session.mjs';

const OPTIONS = {
  seconds: { type: 'string', default: '30' },
  'late-ms': { type: 'string', default: '500' },
};

await run(['MANIFEST_URL'], OPTIONS, async (input, results) => {
  const seconds = integer(input.seconds, 'seconds');
  const summary = await validate(input.MANIFEST_URL, { seconds, lateMs: integer(input['late-ms'], 'late-ms') });
  Object.assign(results, summary);
  must(summary.renditions.length > 0, 'there is no live session');
  const rules = Object.keys(summary.broken);
  const count = Object.values(summary.broken).reduce((sum, one) => sum + one, 0);
  must(count === 0, `${count} violations of ${rules.length} rules: ${rules}`);
});
