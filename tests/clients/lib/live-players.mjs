// hls.js, shaka-player and dash.js at low latency, behind one face. `start(video, url, { whole })` loads and plays, hls.js by whole
// segments where that is wanted; `window.player` then has
//   behind()   seconds from the instant that what is shown was taken
//   low()      whether the player gets media while they are made
//   where()    what it says of itself, for messages
//   errors     what it complained of
import { PLAYERS } from './players.mjs';

const HLS = `
window.start = async (video, url, { whole }) => {
  // As the others, it catches up when it began too far behind.
  const hls = new Hls({ lowLatencyMode: !whole, maxLiveSyncPlaybackRate: 1.1 });
  const errors = [];
  hls.on(Hls.Events.ERROR, (_, error) => errors.push([error.fatal ? 'fatal' : 'minor', error.details, error.reason ?? error.error?.message ?? ''].join(' ')));
  hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
  hls.loadSource(url);
  hls.attachMedia(video);
  window.player = {
    errors,
    behind: () => (Date.now() - hls.playingDate.getTime()) / 1000,
    low: () => hls.levels.some(({ details }) => details?.canBlockReload),
    where: () => ({ latency: hls.latency, target: hls.targetLatency }),
  };
};`;

const SHAKA = `
window.start = async (video, url) => {
  shaka.polyfill.installAll();
  const shakaPlayer = new shaka.Player();
  const errors = [];
  shakaPlayer.addEventListener('error', ({ detail }) => errors.push(['fatal', detail.code, JSON.stringify(detail.data)].join(' ')));
  await shakaPlayer.attach(video);
  shakaPlayer.configure({ streaming: { lowLatencyMode: true, liveSync: { enabled: true } } });
  await shakaPlayer.load(url).catch(({ code, data }) => { throw new Error('shaka ' + code + ' ' + JSON.stringify(data)); });
  void video.play();
  // The segments that a stream has, where something is missing between two of them or other ones begin.
  const runs = (stream) => {
    const found = [];
    for (const segment of stream?.segmentIndex ?? []) {
      const [from, to] = [segment?.getStartTime(), segment?.getEndTime()];
      const last = found.at(-1);
      if (last && last[1] === from) last[1] = to;
      else if (segment) found.push([from, to]);
    }
    return found;
  };
  const streams = () => shakaPlayer.getManifest().variants.map(({ id, video, audio }) => {
    const active = shakaPlayer.getVariantTracks().find((track) => track.active)?.id === id;
    return { id, active, size: video?.width + 'x' + video?.height, video: runs(video), audio: runs(audio) };
  });
  window.player = {
    errors,
    behind: () => (Date.now() - shakaPlayer.getPlayheadTimeAsDate().getTime()) / 1000,
    low: () => shakaPlayer.getConfiguration().streaming.lowLatencyMode,
    where: () => ({ range: shakaPlayer.seekRange(), buffered: shakaPlayer.getBufferedInfo(), manifest: shakaPlayer.getManifestType(), streams: streams() }),
  };
};`;

const DASHJS = `
window.start = async (video, url) => {
  const dash = dashjs.MediaPlayer().create();
  const errors = [];
  dash.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => errors.push('fatal ' + (error?.code ?? '') + ' ' + (error?.message ?? error)));
  const ready = new Promise((resolve) => dash.on(dashjs.MediaPlayer.events.STREAM_INITIALIZED, resolve));
  dash.initialize();
  dash.updateSettings({ debug: { logLevel: dashjs.Debug.LOG_LEVEL_ERROR }, streaming: { liveCatchup: { enabled: true } } });
  dash.attachView(video);
  dash.attachSource(url);
  await ready;
  void video.play();
  window.player = {
    errors,
    behind: () => dash.getCurrentLiveLatency(),
    low: () => dash.getLowLatencyModeEnabled(),
    where: () => ({ target: dash.getTargetLiveDelay(), buffered: dash.getBufferLength('video'), sound: dash.getBufferLength('audio') }),
  };
};`;

/** Library files and adapters by name. */
export const LIVE_PLAYERS = {
  'hls.js': { ...PLAYERS['hls.js'], adapter: HLS },
  shaka: { ...PLAYERS.shaka, adapter: SHAKA },
  'dash.js': { ...PLAYERS['dash.js'], adapter: DASHJS },
};
