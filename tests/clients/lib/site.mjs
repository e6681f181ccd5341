// A site of its own origin for a page with a player on it.
import { createServer } from 'node:http';

/** Serves `files` (path to `[content type, body]`) on a free port; `{ origin, close }`. */
export async function serve(files) {
  const server = createServer((request, response) => {
    const file = files[request.url.split('?')[0]];
    response.writeHead(file ? 200 : 404, { 'Content-Type': file?.[0] ?? 'text/plain' });
    response.end(file?.[1]);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}
