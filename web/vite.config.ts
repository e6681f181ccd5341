import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, loadEnv } from 'vite';

/** Where `npm run dev` and `npm run preview` find a running server. */
const server = loadEnv('', '.', 'PLAYHOUSE_').PLAYHOUSE_URL ?? 'http://127.0.0.1:8080';
const proxy = Object.fromEntries(
  ['/api', '^/[vt]/'].map((path) => [path, { target: server, changeOrigin: false }]),
);

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    // The server sends `default-src 'self'`: nothing may be inlined as a data URL.
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    // hls.js is one lazily loaded chunk of that size.
    chunkSizeWarningLimit: 700,
  },
  server: { host: '127.0.0.1', proxy },
  preview: { host: '127.0.0.1', proxy },
});
