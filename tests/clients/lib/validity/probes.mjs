// Questions that players seldom ask: beyond the edge, malformed, of old times, compressed, in pieces.
import { gunzipSync } from 'node:zlib';

import { caching, elapsed, sleep } from './http.mjs';
import { edge, following, parseMedia } from './playlist.mjs';

/** One round of questions per rendition takes this long. */
const ROUND_MS = 4000;

/** Asks until the session is over, or everything was asked of every rendition after its end. */
export async function probe(session, presentation) {
  const asked = new Set();
  while (!session.signal.aborted) {
    await sleep(ROUND_MS / 2, session.signal);
    const known = [...presentation.renditions.values()].filter((one) => one.list);
    for (const rendition of known.filter((one) => !asked.has(one))) {
      if (session.signal.aborted) return;
      if (rendition.ended) asked.add(rendition);
      await (rendition.ended ? askEnded(rendition) : askLive(rendition));
    }
    if (known.length > 0 && asked.size === known.length) return;
  }
}

async function askLive(rendition) {
  await Promise.all([
    refused(rendition),
    beyondLastPart(rendition),
    oldTimes(rendition),
    notThere(rendition),
    compressed(rendition),
    inPieces(rendition),
  ]);
}

/** An answer that was not read before, by the playlist's query. */
function query(rendition, text) {
  return rendition.get(`${rendition.url}?${text}`, { headers: { 'accept-encoding': 'identity' } });
}

async function refused(rendition) {
  const { report, list } = rendition;
  const { msn, part } = following(list);
  const limit = Math.ceil(list.partTarget < 1 ? 3 / list.partTarget : 3);
  const bad = [
    ['reload.part-alone', '_HLS_part=1'],
    ['reload.malformed', '_HLS_msn=x'],
    ['reload.malformed', '_HLS_msn=-1'],
    ['reload.too-far', `_HLS_msn=${msn + 5}`],
    ['reload.too-far', `_HLS_msn=${msn + 5}&_HLS_part=0`],
    ['reload.too-far-part', `_HLS_msn=${msn}&_HLS_part=${part + limit + 20}`],
  ];
  await Promise.all(
    bad.map(async ([rule, text]) => {
      const got = await query(rendition, text);
      // It may just have ended: directives are ignored then. Or the segment has, before its time: the part is one of the next.
      if (!got || (got.status === 200 && hasMovedOn(got, rendition.url, msn))) return;
      const took = elapsed(got.askedAt, got.headAt);
      report.check(rule, got.status === 400 && took < rendition.session.lateMs, `${rendition.name}?${text}`, () => `${got.status} after ${Math.round(took)} ms`);
      checkNegative(rendition, got, `${rendition.name}?${text}`);
    }),
  );
}

function hasMovedOn({ body }, url, msn) {
  const list = parseMedia(body.toString('utf8'), url);
  return list.ended || following(list).msn > msn;
}

function checkNegative(rendition, { headers, status }, where) {
  const kept = caching(headers);
  const isShort = kept['max-age'] <= 1 || kept['no-store'] || kept['no-cache'];
  rendition.report.check('http.negative-cache', isShort || status === 200, where, () => `${status}: ${headers['cache-control']}`);
  rendition.report.check('http.cors', headers['access-control-allow-origin'] === '*', where, () => `${status}: ${headers['access-control-allow-origin']}`);
}

/** A part behind the last one of a segment is the first one of the next. */
async function beyondLastPart(rendition) {
  const { report, list } = rendition;
  const target = following(list);
  const last = list.segments.filter((segment) => segment.complete && segment.parts.length > 0).at(-1);
  if (last) {
    const got = await query(rendition, `_HLS_msn=${last.msn}&_HLS_part=${last.parts.length}`);
    if (got?.status === 200) {
      const answered = parseMedia(got.body.toString('utf8'), rendition.url);
      const reached = edge(answered).msn > last.msn || answered.ended;
      report.check('reload.beyond-last-part', reached, `${rendition.name} ${last.msn}.${last.parts.length}`, () => `answered with ${JSON.stringify(edge(answered))}`);
    } else if (got) report.check('reload.beyond-last-part', false, rendition.name, `${got.status}`);
  }
  // One that this segment will most likely not have.
  const usual = last?.parts.length ?? 0;
  if (usual === 0 || target.part === 0 || target.part + 3 / list.partTarget <= usual + 1) return;
  const text = `_HLS_msn=${target.msn}&_HLS_part=${usual + 1}`;
  const got = await query(rendition, text);
  if (!got) return;
  if (!report.check('reload.beyond-last-part', got.status === 200, `${rendition.name}?${text}`, () => `${got.status}`)) return;
  const answered = parseMedia(got.body.toString('utf8'), rendition.url);
  const found = answered.segments.find((segment) => segment.msn === target.msn);
  const reached = edge(answered).msn > target.msn || found?.parts.length > usual + 1 || found?.gap || answered.ended;
  report.check('reload.beyond-last-part', reached, `${rendition.name}?${text}`, () => `answered with ${JSON.stringify(edge(answered))}`);
}

/** What is long there is answered at once, with everything; unknown directives do nothing. */
async function oldTimes(rendition) {
  const { report, list } = rendition;
  const asked = [`_HLS_msn=${list.mediaSequence}`, `_HLS_msn=${Math.max(0, list.mediaSequence - 1)}&_HLS_part=0`, '_HLS_skip=NO', '_HLS_other=1'];
  for (const text of asked) {
    const got = await query(rendition, text);
    if (!got) return;
    const took = elapsed(got.askedAt, got.headAt);
    const answered = parseMedia(got.body.toString('utf8'), rendition.url);
    const whole = got.status === 200 && answered.skipped === 0 && answered.mediaSequence >= list.mediaSequence && edge(answered).msn >= edge(list).msn;
    report.check('reload.old', whole && took < rendition.session.lateMs, `${rendition.name}?${text}`, () => `${got.status} after ${Math.round(took)} ms, ${answered.segments.length} segments`);
  }
}

async function notThere(rendition) {
  const { report, list, url } = rendition;
  const whole = list.segments.filter((segment) => segment.complete && !segment.gap).at(-1);
  if (!whole) return;
  const name = whole.url.split('/').at(-1);
  const names = [name.replace(String(whole.msn), String(whole.msn + 1000)), name.replace(/\.[^.]+$/, '.4711.m4s'), 'nothing.mp4', `../none/${name}`];
  for (const one of names) {
    const got = await rendition.get(new URL(one, url).href);
    if (!got) return;
    const took = elapsed(got.askedAt, got.headAt);
    report.check('http.not-found', got.status === 404 && took < rendition.session.lateMs, `${rendition.name} ${one}`, () => `${got.status} after ${Math.round(took)} ms`);
    checkNegative(rendition, got, `${rendition.name} ${one}`);
  }
}

/** Playlists are compressed when that is wanted, and are the same then. */
async function compressed(rendition) {
  const { msn, part } = following(rendition.list);
  const url = `${rendition.url}?_HLS_msn=${msn}&_HLS_part=${part}`;
  const [packed, plain] = await Promise.all(['gzip', 'identity'].map((encoding) => rendition.get(url, { headers: { 'accept-encoding': encoding } })));
  if (packed?.status !== 200 || plain?.status !== 200) return;
  const { report, name } = rendition;
  const varies = /accept-encoding|\*/i.test(packed.headers.vary ?? '') && /accept-encoding|\*/i.test(plain.headers.vary ?? '');
  report.check('http.compression', packed.headers['content-encoding'] === 'gzip' && varies, name, () => `${packed.headers['content-encoding']}, Vary: ${packed.headers.vary}`);
  report.check('http.compression', plain.headers['content-encoding'] === undefined, name, () => `${plain.headers['content-encoding']} was not asked for`);
  if (packed.headers['content-encoding'] !== 'gzip') return;
  const [a, b] = [gunzipSync(packed.body).toString('utf8'), plain.body.toString('utf8')];
  const [first, second] = [a, b].map((text) => parseMedia(text, rendition.url));
  const sameMoment = JSON.stringify([edge(first), first.reports]) === JSON.stringify([edge(second), second.reports]);
  if (sameMoment) report.check('http.compression', a === b, name, 'compressed it is another playlist');
  const isDifferent = packed.headers.etag === undefined || packed.headers.etag !== plain.headers.etag;
  if (sameMoment) report.check('http.compression', isDifferent, name, () => `one strong ETag for two representations: ${packed.headers.etag}`);
}

/** Ranges and conditional requests of media. */
async function inPieces(rendition) {
  const { report, list, name } = rendition;
  const segment = list.segments.filter((one) => one.complete && !one.gap).at(-1);
  const whole = segment && (await rendition.get(segment.url));
  if (whole?.status !== 200) return;
  const middle = Math.floor(whole.body.length / 2);
  const piece = await rendition.get(segment.url, { headers: { range: `bytes=10-${middle}` } });
  const isRight = piece?.status === 206 && piece.body.equals(whole.body.subarray(10, middle + 1)) && piece.headers['content-range'] === `bytes 10-${middle}/${whole.body.length}`;
  if (piece) report.check('http.range', isRight, `${name} ${segment.msn}`, () => `${piece.status}, ${piece.headers['content-range']}, ${piece.body.length} bytes`);
  const again = await rendition.get(segment.url, { headers: { 'if-none-match': whole.headers.etag ?? '"none"' } });
  if (again) report.check('http.conditional', again.status === 304 && again.body.length === 0, `${name} ${segment.msn}`, () => `${again.status}`);
  const head = await rendition.get(segment.url, { method: 'HEAD' });
  if (head) report.check(
    'http.conditional', head.status === 200 && Number(head.headers['content-length']) === whole.body.length, `${name} ${segment.msn}`,
    () => `HEAD: ${head.status}, ${head.headers['content-length']} bytes`,
  );
}

/** Directives are ignored when nothing more will come. */
async function askEnded(rendition) {
  const { report, list, name } = rendition;
  for (const text of [`_HLS_msn=${edge(list).msn + 100}`, `_HLS_msn=${edge(list).msn + 1}&_HLS_part=0`, '_HLS_skip=YES']) {
    const got = await query(rendition, text);
    if (!got) return;
    const answered = parseMedia(got.body.toString('utf8'), rendition.url);
    report.check('reload.ended', got.status === 200 && answered.ended && answered.skipped === 0, `${name}?${text}`, () => `${got.status} after ${Math.round(got.headAt - got.askedAt)} ms`);
  }
}
