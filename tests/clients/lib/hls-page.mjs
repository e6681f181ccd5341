// A page with plain hls.js.
import fs from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const PAGE = `<!doctype html><meta charset="utf-8"><title>hls.js</title><link rel="icon" href="data:,">
<video muted playsinline width="640" height="360"></video><script src="/hls.js"></script><script src="/play.js"></script>`;

/** Serves a page with plain hls.js and this script, on an origin of its own. */
export async function serveHls(play) {
  const library = createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js');
  const files = {
    '/': ['text/html', PAGE],
    '/play.js': ['text/javascript', play],
    '/hls.js': ['text/javascript', await fs.readFile(library)],
  };
  const server = createServer((request, response) => {
    const file = files[request.url.split('?')[0]];
    response.writeHead(file ? 200 : 404, { 'Content-Type': file?.[0] ?? 'text/plain' });
    response.end(file?.[1]);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
