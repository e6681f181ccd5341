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
    assert.deepEqual(match('/live/live_2Eh/'), { name: 'live', id: 'live_2Eh' });
    assert.equal(match('/live/').name, 'go-live');
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

describe('the lowest latency', () => {
  test('asks for sound in stereo', async () => {
    const { hasRealtime, withStereo } = await load('player/realtime.ts');
    const offer = 'm=audio 9 X 111 63\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=fmtp:63 111/111\r\n';
    const asked = withStereo(offer);
    assert.ok(asked.includes('a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\na=fmtp:63 111/111\r\n'), asked);
    assert.equal(withStereo(asked), asked);
    assert.equal(withStereo('m=video 9 X 96\r\n'), 'm=video 9 X 96\r\n');
    assert.deepEqual([hasRealtime({}), hasRealtime({ RTCPeerConnection: class {} })], [false, true]);
  });
});

describe('figures', () => {
  test('read as people write them', async () => {
    const { behind, bitRate, bytes, clock, clockBack, parseTags, remaining, spoken, titleOf } = await load('lib/format.ts');
    assert.deepEqual([0, 59.9, 60, 3600, Number.NaN].map(clock), ['0:00', '0:59', '1:00', '1:00:00', '0:00']);
    assert.deepEqual([-1, 0.9, 1, 65.4, 3600].map(clockBack), ['0:00', '0:00', '−0:01', '−1:05', '−1:00:00']);
    assert.deepEqual([0.4, 1, 2.4].map(behind), ['Under 1 s behind', '1 s behind', '2 s behind']);
    assert.deepEqual([600_400, 2_540_000].map(bitRate), ['600 kb/s', '2.5 Mb/s']);
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
    const board = { sheets: ['a.jpg', 'b.jpg'], width: 160, height: 90, columns: 3, rows: 2, interval: 2, count: 8, skipped: 0 };
    assert.deepEqual(tileAt(board, 0), { sheet: 'a.jpg', x: 0, y: 0 });
    assert.deepEqual(tileAt(board, 7.9), { sheet: 'a.jpg', x: 0, y: 90 });
    assert.deepEqual(tileAt(board, 12), { sheet: 'b.jpg', x: 0, y: 0 });
    assert.deepEqual(tileAt(board, 9999), { sheet: 'b.jpg', x: 160, y: 0 });
    assert.deepEqual(tileAt({ ...board, skipped: 12 }, 0), { sheet: 'b.jpg', x: 0, y: 0 }, 'of a trimmed video');
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

describe('live', () => {
  /** Segments of 2 s from 0, `-` being one without media, and how far parts go beyond them. */
  const playlist = (segments, { live = true, age = 0.1, parts = 0 } = {}) => {
    const fragments = [...segments].map((one, i) => ({ start: 2 * i, end: 2 * i + 2, tagList: one === '-' ? [['GAP']] : [['INF', '2']] }));
    const fragmentEnd = 2 * fragments.length;
    const partEnd = fragmentEnd + parts;
    return { fragments, live, age, edge: partEnd, partEnd, fragmentStart: 0, fragmentEnd, targetduration: 2 };
  };
  const seen = async (details, at, live = null, reached = true) => {
    const { edgeOf } = await load('player/edge.ts');
    return edgeOf(details, { at, live, reached });
  };

  test('is watched live close to its newest part', async () => {
    const { isBehind } = await load('player/edge.ts');
    const edge = await seen(playlist('xxxxx', { parts: 0.5 }), 9.5, 9.75);
    assert.deepEqual([edge.start, edge.end, edge.live, edge.stalled, edge.over], [0, 10.5, 9.75, null, false]);
    assert.equal(edge.latency.toFixed(3), '1.100');
    assert.deepEqual([9.5, 7, 6.7, 0].map((at) => isBehind(edge, at)), [false, false, true, true]);
  });

  test('says who is away', async () => {
    assert.equal((await seen(playlist('xxx', { age: 3.9 }), 5)).stalled, null);
    assert.equal((await seen(playlist('xxx', { age: 4.1 }), 5)).stalled, 'publisher');
    assert.equal((await seen(playlist('xxx', { age: 4.1 }), 5, 5, false)).stalled, 'server');
    const away = await seen(playlist('xx--'), 3.9, 7);
    assert.deepEqual([away.stalled, away.end, away.live], ['publisher', 4, 4], 'there is nothing to see in a hole');
    assert.equal((await seen(playlist('xx--', { parts: 0.5 }), 3.9, 7.7)).stalled, null, 'a part has come');
  });

  test('goes on behind the hole it is in', async () => {
    const details = playlist('xx--xxxx');
    assert.deepEqual(await Promise.all([3.5, 5, 7.9].map(async (at) => (await seen(details, at, 15)).next)), [8, 8, 8]);
    assert.deepEqual(await Promise.all([0, 2.5, 8, 14].map(async (at) => (await seen(details, at, 15)).next)), [null, null, null, null]);
  });

  test('that is over has an end and no latency', async () => {
    const { isBehind } = await load('player/edge.ts');
    const edge = await seen(playlist('xxxx', { live: false, age: 99 }), 1);
    assert.deepEqual([edge.over, edge.live, edge.latency, edge.stalled], [true, 8, null, null]);
    assert.equal(isBehind(edge, 1), false);
  });

  test('is told to publishers as their programs want it', async () => {
    const { ffmpegCommand, serverOf } = await load('live/publishing.ts');
    const url = 'rtmp://host:1936/live/KEY';
    assert.equal(serverOf(url, 'KEY'), 'rtmp://host:1936/live');
    assert.equal(serverOf(url, 'OTHER'), url);
    assert.match(ffmpegCommand(url), /^ffmpeg .* rtmp:\/\/host:1936\/live\/KEY$/);
  });

  test('shows the figures that there are', async () => {
    const { figuresOf } = await load('live/publishing.ts');
    const unknown = { bits_per_sec: 0, frame_rate: 0, gop_secs: null, width: null, height: null, video_codec: null, audio_codec: null };
    const stats = { connected: true, recording: false, ...unknown, repairs: { jumps: 0 }, dropped: { early_sound: 2, undecodable: 0 }, epochs: 3, gaps: 0 };
    const text = (all) => all.map(({ label, text, bad }) => `${label}: ${text}${bad ? '!' : ''}`);
    assert.deepEqual(text(figuresOf(stats, false)), ['Publisher: connected', 'Repaired times: none', 'Left out: 2 (early sound: 2)', 'Interruptions: 2']);
    const later = { ...stats, frame_rate: 29.97, width: 1280, height: 720, bits_per_sec: 1_600_000, gop_secs: 10, video_codec: 'H.264', gaps: 1 };
    assert.deepEqual(text(figuresOf(later, true)).slice(1, 7), [
      'Recording: no: the disk does not take it!', 'Bit rate: 1.6 Mb/s', 'Frame rate: 29.97 per second', 'Pictures: 1280×720', 'Codecs: H.264', 'Key frames: every 10 s!',
    ]);
    assert.equal(text(figuresOf(later, true)).at(-1), 'Missing: 1 segment');
  });

  test('what a publisher had better change is told', async () => {
    const { warningsOf } = await load('live/publishing.ts');
    const fine = { gop_secs: 2, repairs: { jumps: 1 }, dropped: { early_sound: 0 } };
    assert.deepEqual(warningsOf(fine), []);
    const rungs = [{ width: 1280, height: 720, dropped: true }, { width: 640, height: 360, dropped: false }];
    const told = warningsOf({ ...fine, gop_secs: 10, dropped: { undecodable: 3 }, ladder: { rungs } });
    assert.equal(told.length, 3);
    assert.ok(told[0].includes('10 s') && told[2].includes('720p') && !told[2].includes('360p'));
  });
});

describe('publishing from the page', () => {
  test('says why it cannot be, and what went wrong', async () => {
    const { reason, explainMedia, refusal } = await load('live/browser-publisher.ts');
    assert.match(reason({ isSecureContext: false }), /HTTPS/);
    assert.match(reason({ isSecureContext: true, navigator: {} }), /another/);
    assert.match(explainMedia(Object.assign(new Error('x'), { name: 'NotAllowedError' })), /Allow/);
    assert.equal(explainMedia(new Error('This server is full.')), 'This server is full.');
    assert.equal(await refusal({ status: 403, json: async () => ({ detail: 'This stream has ended.' }) }), 'This stream has ended.');
    assert.match(await refusal({ status: 502, json: async () => JSON.parse('<html>') }), /502/);
  });
});
