// The parts that are plain computation. Everything a browser is needed for is tested by tests/clients/.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createServer } from 'vite';

let vite;
const load = (file) => vite.ssrLoadModule(`/src/${file}`);
before(async () => {
  vite = await createServer({
    server: { middlewareMode: true, ws: false, watch: null },
    appType: 'custom',
    optimizeDeps: { noDiscovery: true },
    logLevel: 'error',
  });
});
after(() => vite.close());

describe('paths', () => {
  test('name pages', async () => {
    const { match } = await load('lib/paths.ts');
    assert.deepEqual(match('/watch/vid_3fk'), { name: 'watch', id: 'vid_3fk' });
    assert.equal(match('/').name, 'home');
    assert.equal(match('/upload/').name, 'upload');
    for (const path of ['/watch/', '/watch/a/b', '/watch/%2e%2e', '/nothing']) assert.equal(match(path).name, 'missing', path);
  });

  test('signing in leads back to pages of ours only', async () => {
    const { nextPath, loginPath } = await load('lib/paths.ts');
    const there = loginPath('/watch/vid_1');
    assert.equal(nextPath(there.slice(there.indexOf('?'))), '/watch/vid_1');
    for (const next of ['//evil.example', '/\\evil.example', 'https://evil.example', 'javascript:alert(1)', ''])
      assert.equal(nextPath(`?next=${encodeURIComponent(next)}`), '/', next);
  });
});

describe('figures', () => {
  test('read as people write them', async () => {
    const { bytes, clock, parseTags, remaining, spoken, titleOf } = await load('lib/format.ts');
    assert.deepEqual([0, 59.9, 60, 3600, Number.NaN].map(clock), ['0:00', '0:59', '1:00', '1:00:00', '0:00']);
    assert.equal(spoken(3661), '1 hour 1 minute 1 second');
    assert.equal(spoken(0), '0 seconds');
    assert.deepEqual([999, 1000, 12_345, 4_294_967_296].map(bytes), ['999 B', '1.00 kB', '12.3 kB', '4.29 GB']);
    assert.equal(remaining(61), '2 minutes left');
    assert.deepEqual(parseTags(' a, b,,a ,c d '), ['a', 'b', 'c d']);
    assert.equal(titleOf('summer_holiday-01.mp4'), 'summer holiday 01');
    assert.equal(titleOf('.mp4'), '.mp4');
  });

  test('speed is that of the last seconds, and starts anew after a step back', async () => {
    const { Speed } = await load('upload/speed.ts');
    const speed = new Speed();
    assert.equal(speed.at(0, 0), null);
    assert.equal(speed.at(100, 500_000), null);
    assert.equal(speed.at(1000, 1_000_000), 1_000_000);
    for (let second = 2; second <= 20; second += 1) speed.at(second * 1000, 1_000_000 + second * 2_000_000);
    assert.equal(Math.round(speed.at(21_000, 43_000_000) / 100_000), 20);
    assert.equal(speed.at(21_100, 10_000_000), null);
  });
});

describe('beacon', () => {
  async function beacon(send) {
    const { Beacon } = await load('player/beacon.ts');
    const at = { position: 0, bitrate: 1000.4 };
    const time = { now: 0 };
    return { at, time, beacon: new Beacon('pbs_1', send, () => at, () => time.now) };
  }

  test('tells everything once, numbered upwards', async () => {
    const sent = [];
    const { at, time, beacon: it } = await beacon(async (beat) => void sent.push(beat));
    it.started(123.6);
    it.record('play');
    await it.beat();
    at.position = 4.00049;
    it.stall();
    time.now = 250;
    it.stall();
    time.now = 400;
    it.flowing();
    it.flowing();
    await it.beat();
    assert.deepEqual(sent.map((beat) => beat.seq), [1, 2]);
    assert.deepEqual([sent[0].startup_ms, sent[1].startup_ms], [124, null]);
    assert.deepEqual(sent[0].events, [{ type: 'play', at_sec: 0 }]);
    assert.deepEqual(sent[1].buffer_events, [{ at_sec: 4, duration_ms: 400 }]);
    assert.deepEqual([sent[1].events, sent[1].bitrate, sent[1].progress_sec], [[], 1000, 4]);
  });

  test('repeats a beat that did not arrive, unchanged, before the next', async () => {
    const sent = [];
    let broken = true;
    const { at, beacon: it } = await beacon(async (beat) => {
      sent.push(beat);
      if (broken) throw new Error('offline');
    });
    it.record('play');
    await it.beat();
    broken = false;
    at.position = 9;
    it.record('pause');
    await it.beat();
    assert.deepEqual(sent.map((beat) => beat.seq), [1, 1, 2]);
    assert.equal(sent[0], sent[1]);
    assert.deepEqual(sent[2].events, [{ type: 'pause', at_sec: 9 }]);
  });

  test('sends one at a time, and what came up meanwhile right after', async () => {
    const sent = [];
    let release;
    const { beacon: it } = await beacon((beat) => {
      sent.push(beat.seq);
      return sent.length === 1 ? new Promise((resolve) => (release = resolve)) : Promise.resolve();
    });
    const first = it.beat();
    it.record('seek');
    await it.beat();
    assert.deepEqual(sent, [1]);
    release();
    await first;
    assert.deepEqual(sent, [1, 2]);
  });

  test('leaving sends what is unsent and a stall that was going on', async () => {
    const sent = [];
    const { time, beacon: it } = await beacon(async (beat, leaving) => {
      sent.push([beat.seq, leaving, beat.buffer_events.length]);
      if (!leaving) throw new Error('offline');
    });
    await it.beat();
    it.stall();
    time.now = 10;
    it.leave();
    assert.deepEqual(sent, [[1, false, 0], [1, true, 0], [2, true, 1]]);
  });
});

describe('player', () => {
  test('small pictures are found by time', async () => {
    const { tileAt } = await load('player/storyboard.ts');
    const board = { sheets: ['a.jpg', 'b.jpg'], width: 160, height: 90, columns: 3, rows: 2, interval: 2, count: 8 };
    assert.deepEqual(tileAt(board, 0), { sheet: 'a.jpg', x: 0, y: 0 });
    assert.deepEqual(tileAt(board, 7.9), { sheet: 'a.jpg', x: 0, y: 90 });
    assert.deepEqual(tileAt(board, 12), { sheet: 'b.jpg', x: 0, y: 0 });
    assert.deepEqual(tileAt(board, 9999), { sheet: 'b.jpg', x: 160, y: 0 });
    assert.equal(tileAt({ ...board, count: 0 }, 1), null);
    assert.equal(tileAt({ ...board, sheets: [] }, 1), null);
  });

  test('qualities are one for each size and codec', async () => {
    const { qualitiesOf, soundLabel } = await load('player/engine.ts');
    const level = (width, height, videoCodec) => ({ width, height, videoCodec });
    const levels = [level(0, 0), level(640, 360, 'avc1.64001e'), level(640, 360, 'avc1.64001e'), level(720, 1280, 'avc1.64001f'), level(720, 1280, 'av01.0.05M.08')];
    const named = qualitiesOf(levels).map(({ side, codec }) => `${side} ${codec}`);
    assert.deepEqual(named, ['720 AV1', '720 H.264', '360 H.264']);
    assert.match(soundLabel('de 2', 'de'), / 2$/);
    assert.equal(soundLabel('Commentary', 'en'), 'Commentary');
    assert.equal(soundLabel('Audio', undefined), 'Audio');
  });
});
