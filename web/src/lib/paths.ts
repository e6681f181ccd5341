/** Which page a path names, and the way back to one. */

export type Route =
  | { name: 'home' | 'upload' | 'go-live' | 'login' | 'register' | 'account' | 'nodes' | 'missing' }
  | { name: 'watch' | 'live'; id: string };

/** Which page a path names. */
export function match(path: string): Route {
  const shown = /^\/(watch|live)\/([A-Za-z0-9_]+)\/?$/.exec(path);
  if (shown?.[2]) return { name: shown[1] === 'live' ? 'live' : 'watch', id: shown[2] };
  switch (path.replace(/\/+$/, '') || '/') {
    case '/': return { name: 'home' };
    case '/upload': return { name: 'upload' };
    case '/live': return { name: 'go-live' };
    case '/login': return { name: 'login' };
    case '/register': return { name: 'register' };
    case '/account': return { name: 'account' };
    case '/nodes': return { name: 'nodes' };
    default: return { name: 'missing' };
  }
}

/** Where to go after signing in; only a path of ours is followed. */
export function nextPath(search: string): string {
  const next = new URLSearchParams(search).get('next') ?? '/';
  return /^\/(?![/\\])/.test(next) ? next : '/';
}

/** The sign-in page that leads back to `path`. */
export function loginPath(path: string): string {
  return path === '/' ? '/login' : `/login?next=${encodeURIComponent(path)}`;
}
