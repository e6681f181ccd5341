/** One holder at a time over all tabs of this origin. */

const LEASE_MS = 10_000;

/** Runs `work` while no other tab runs work of that name. */
export function exclusively<T>(name: string, work: () => Promise<T>): Promise<T> {
  // Web Locks exist in secure contexts only; a home server on plain http falls back to a lease in local storage.
  if (navigator.locks) return navigator.locks.request(name, work) as Promise<T>;
  return withLease(name, work);
}

async function withLease<T>(name: string, work: () => Promise<T>): Promise<T> {
  const me = Math.random().toString(36).slice(2);
  try {
    while (!(await tryLease(name, me))) await pause(50 + Math.random() * 50);
  } catch {
    return work(); // no local storage: other tabs cannot be seen at all
  }
  try {
    return await work();
  } finally {
    if (localStorage.getItem(name)?.startsWith(`${me}:`)) localStorage.removeItem(name);
  }
}

/** Best effort: the last writer wins, and everyone looks again after the others have had time to write. */
async function tryLease(name: string, me: string): Promise<boolean> {
  const until = Number(localStorage.getItem(name)?.split(':')[1] ?? 0);
  if (until > Date.now()) return false;
  localStorage.setItem(name, `${me}:${Date.now() + LEASE_MS}`);
  await pause(30);
  return localStorage.getItem(name)?.startsWith(`${me}:`) ?? false;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
