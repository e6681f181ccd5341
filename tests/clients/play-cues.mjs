// Plays a manifest with one of the players and says what it was told of the timeline: date ranges in HLS, events in DASH.
import { withPlayer } from './lib/player-page.mjs';
import { PLAYERS } from './lib/players.mjs';
import { integer, run, until } from './lib/run.mjs';

const HLS = `
window.start = async (video, url) => {
  const hls = new Hls();
  const errors = [];
  const found = new Map();
  const take = ({ details }) => Object.values(details.dateRanges ?? {}).forEach((range) => found.set(range.id, {
    id: range.id,
    class: range.class,
    at: range.startDate.getTime(),
    duration: range.duration,
    values: Object.fromEntries(Object.entries(range.attr)),
  }));
  hls.on(Hls.Events.ERROR, (_, error) => error.fatal && errors.push('fatal ' + error.details));
  hls.on(Hls.Events.LEVEL_LOADED, (_, data) => take(data));
  hls.on(Hls.Events.LEVEL_UPDATED, (_, data) => take(data));
  hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
  hls.loadSource(url);
  hls.attachMedia(video);
  window.player = { errors, found: () => [...found.values()] };
};`;

const SHAKA = `
window.start = async (video, url) => {
  shaka.polyfill.installAll();
  const shakaPlayer = new shaka.Player();
  const errors = [];
  const found = [];
  const event = ({ detail }) => found.push({ scheme: detail.schemeIdUri, at: detail.startTime, duration: detail.endTime - detail.startTime, text: detail.eventNode?.children?.join?.('') ?? '' });
  shakaPlayer.addEventListener('error', ({ detail }) => errors.push('fatal ' + detail.code));
  shakaPlayer.addEventListener('timelineregionadded', event);
  shakaPlayer.addEventListener('metadataadded', (metadata) => found.push({ scheme: metadata.metadataType, at: metadata.startTime, key: metadata.payload?.key, data: metadata.payload?.data }));
  shakaPlayer.addEventListener('metadata', (metadata) => found.push({ scheme: metadata.metadataType, at: metadata.startTime, key: metadata.payload?.key, data: metadata.payload?.data }));
  await shakaPlayer.attach(video);
  await shakaPlayer.load(url).catch(({ code, data }) => { throw new Error('shaka ' + code + ' ' + JSON.stringify(data)); });
  void video.play();
  window.player = { errors, found: () => found };
};`;

const ADAPTERS = { 'hls.js': HLS, shaka: SHAKA };
const OPTIONS = { player: { type: 'string', default: 'hls.js' }, count: { type: 'string', default: '1' } };

const players = Object.fromEntries(Object.entries(ADAPTERS).map(([name, adapter]) => [name, { ...PLAYERS[name], adapter }]));

await run(['BASE', 'MANIFEST_URL'], OPTIONS, (input, results) =>
  withPlayer(
    input,
    async (page) => {
      const count = integer(input.count, 'count');
      results.found = await until(`${count} cues`, async () => {
        results.found = await page.evaluate(() => window.player.found());
        return results.found.length >= count && results.found;
      }, 30_000);
    },
    players,
  ),
);
