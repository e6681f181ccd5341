// What every client script shares: arguments in, one JSON line out, a clear reason on failure.
import { parseArgs } from 'node:util';

export class Failed extends Error {}

/** Throws {@link Failed} with the reason unless the condition holds. */
export function must(condition, reason) {
  if (!condition) throw new Failed(reason);
}

/**
 * Runs a script: `names` are its positional arguments, `options` those of `parseArgs`. What `body` resolves to is
 * printed as one JSON line; a failure is printed as `{"ok":false,"reason":…}` and ends with code 1, wrong use with 2.
 */
export async function run(names, options, body) {
  let input;
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    if (positionals.length !== names.length) throw new Error(`expected ${names.join(' ')}`);
    input = { ...values, ...Object.fromEntries(names.map((name, i) => [name, positionals[i]])) };
  } catch (error) {
    const flags = Object.entries(options).map(([name, { type }]) => `[--${name}${type === 'string' ? ' …' : ''}]`);
    console.error(`${error.message}\nusage: ${[process.argv[1], ...names, ...flags].join(' ')}`);
    process.exit(2);
  }
  const results = {};
  const fail = (error) => {
    const reason = error instanceof Failed ? error.message : `${error.stack ?? error}`;
    console.error(reason);
    console.log(JSON.stringify({ ok: false, reason, ...results }));
    process.exitCode = 1;
  };
  // What a client library throws outside of our promises.
  process.on('uncaughtException', (error) => {
    fail(error);
    process.exit();
  });
  try {
    await body(input, results);
    console.log(JSON.stringify({ ok: true, ...results }));
  } catch (error) {
    fail(error);
  }
}

/** Waits until `look` returns something truthy; asks again every 50 ms. */
export async function until(what, look, timeoutMs = 20_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    must(Date.now() < end, `waited ${timeoutMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Whole number of an option, or undefined when it is not given. */
export function integer(text, name) {
  if (text === undefined) return undefined;
  must(/^\d+$/.test(text), `--${name} must be a whole number, is ${text}`);
  return Number(text);
}
