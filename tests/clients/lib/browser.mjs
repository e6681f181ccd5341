// A real Chromium with a fresh profile, and a record of everything that went wrong in it.
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--disable-quic',
];

/** Opens a browser, with further flags and permissions of its pages if wanted, hands `{ page, trouble }` to `body`, and closes it whatever happens. */
export async function withBrowser(body, { flags = [], permissions = [] } = {}) {
  const profile = await fs.mkdtemp(path.join(os.tmpdir(), 'playhouse-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [...FLAGS, ...flags],
    permissions,
    viewport: { width: 1280, height: 800 },
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    await body({ page, trouble: watchTrouble(page) });
  } finally {
    await context.close();
    await fs.rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Console errors, uncaught exceptions, refused requests and broken connections, as lines of text. */
function watchTrouble(page) {
  const lines = [];
  page.on('console', (message) => {
    // A refused request is told once, by its response below.
    const refusal = message.text().startsWith('Failed to load resource');
    if (message.type() === 'error' && !refusal) lines.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => lines.push(`exception: ${error.message}`));
  page.on('response', (response) => {
    if (response.status() >= 400) lines.push(`${response.status()} ${response.request().method()} ${response.url()}`);
  });
  page.on('requestfailed', (request) => {
    const why = request.failure()?.errorText ?? 'failed';
    // Players cancel segments when seeking, and leaving a page cancels what it was loading.
    if (why !== 'net::ERR_ABORTED') lines.push(`${why} ${request.method()} ${request.url()}`);
  });
  return lines;
}

/** Notes when the first `<video>` of each document shows its first picture, in ms since navigation began. */
export async function recordFirstFrame(page) {
  await page.addInitScript(() => {
    const look = () => {
      const video = document.querySelector('video');
      if (!video) return false;
      video.requestVideoFrameCallback((now) => (window.firstFrameMs = now));
      return true;
    };
    new MutationObserver((_, observer) => look() && observer.disconnect()).observe(document, { childList: true, subtree: true });
  });
}
