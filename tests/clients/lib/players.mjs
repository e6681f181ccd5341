// hls.js, shaka-player and dash.js behind one face, so that one script judges them all. Every adapter runs on the page:
// `start(video, url)` loads and plays; `window.player` then has
//   heights()        heights of the renditions there are to choose from
//   choose(height)   plays that one only; null lets the player choose by itself
//   playing()        height of the rendition whose segments are being fetched
//   languages() / speak(language)
//   errors           what the player complained of
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** Buffered ahead, seconds: little, so that switches are seen soon. */
const AHEAD_S = 6;

const HLS = `
window.start = async (video, url) => {
  const hls = new Hls({ maxBufferLength: ${AHEAD_S}, maxMaxBufferLength: ${AHEAD_S}, backBufferLength: 10, abrEwmaFastVoD: 1, abrEwmaSlowVoD: 2 });
  const errors = [];
  hls.on(Hls.Events.ERROR, (_, { fatal, details, error }) => errors.push([fatal ? 'fatal' : 'minor', details, error?.message ?? ''].join(' ')));
  hls.loadSource(url);
  hls.attachMedia(video);
  window.player = {
    errors,
    heights: () => hls.levels.map(({ height }) => height),
    choose: (height) => { hls.nextLevel = height === null ? -1 : hls.levels.findIndex((level) => level.height === height); },
    playing: () => hls.levels[hls.currentLevel]?.height ?? null,
    languages: () => hls.audioTracks.map(({ lang }) => lang),
    speak: (language) => { hls.audioTrack = hls.audioTracks.findIndex(({ lang }) => lang === language); },
    spoken: () => hls.audioTracks[hls.audioTrack]?.lang ?? null,
  };
};`;

const SHAKA = `
window.start = async (video, url) => {
  shaka.polyfill.installAll();
  const shakaPlayer = new shaka.Player();
  const errors = [];
  shakaPlayer.addEventListener('error', ({ detail }) => errors.push('fatal ' + detail.code + ' ' + JSON.stringify(detail.data)));
  await shakaPlayer.attach(video);
  const codec = new URLSearchParams(location.search).get('codec') ?? 'avc1';
  shakaPlayer.configure({
    streaming: { bufferingGoal: ${AHEAD_S}, bufferBehind: 10 },
    // As for dash.js below: a rendition of which pictures were dropped would be banned for half a minute.
    abr: { switchInterval: 1, cacheLoadThreshold: 0, droppedFrames: false, advanced: { fastHalfLife: 0.2, slowHalfLife: 0.4 } },
    preferredVideo: [{ codec }],
  });
  await shakaPlayer.load(url).catch(({ code, data }) => { throw new Error('shaka ' + code + ' ' + JSON.stringify(data)); });
  const tracks = () => shakaPlayer.getVariantTracks();
  window.player = {
    errors,
    heights: () => [...new Set(tracks().map(({ height }) => height))],
    // It plays what has the codec string of the chosen track only, until the manifest is loaded anew.
    choose: (height) => {
      shakaPlayer.configure({ abr: { enabled: height === null } });
      if (height === null) return shakaPlayer.load(url, video.currentTime);
      const now = tracks().find(({ active }) => active);
      const wanted = tracks().find((track) => track.height === height && track.language === now.language);
      if (wanted) shakaPlayer.selectVariantTrack(wanted, true);
    },
    playing: () => tracks().find(({ active }) => active)?.height ?? null,
    languages: () => [...new Set(shakaPlayer.getAudioTracks().map(({ language }) => language))],
    speak: (language) => shakaPlayer.selectAudioTrack(shakaPlayer.getAudioTracks().find((track) => track.language === language)),
    spoken: () => tracks().find(({ active }) => active)?.language ?? null,
  };
};`;

const DASHJS = `
window.start = async (video, url) => {
  const dash = dashjs.MediaPlayer().create();
  const errors = [];
  dash.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => errors.push('fatal ' + (error?.code ?? '') + ' ' + (error?.message ?? error)));
  const ready = new Promise((resolve) => dash.on(dashjs.MediaPlayer.events.STREAM_INITIALIZED, resolve));
  dash.initialize();
  dash.updateSettings({
    debug: { logLevel: dashjs.Debug.LOG_LEVEL_ERROR },
    streaming: {
      cacheLoadThresholds: { video: 0, audio: 0 },
      // Rules that remember drops: this test switches more than any viewer, on a machine without a graphics card.
      abr: {
        rules: { switchHistoryRule: { active: false }, droppedFramesRule: { active: false } },
        throughput: { ewma: { throughputSlowHalfLifeSeconds: 0.4, throughputFastHalfLifeSeconds: 0.2 } },
      },
      buffer: { bufferTimeDefault: ${AHEAD_S}, bufferTimeAtTopQuality: ${AHEAD_S}, bufferTimeAtTopQualityLongForm: ${AHEAD_S}, fastSwitchEnabled: true, bufferToKeep: 10 },
    },
  });
  dash.attachView(video);
  dash.attachSource(url);
  await ready;
  const renditions = () => dash.getRepresentationsByType('video');
  window.player = {
    errors,
    heights: () => renditions().map(({ height }) => height),
    choose: (height) => {
      dash.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: height === null } } } });
      const wanted = renditions().find((rendition) => rendition.height === height);
      if (wanted) dash.setRepresentationForTypeById('video', wanted.id, true);
    },
    playing: () => dash.getCurrentRepresentationForType('video')?.height ?? null,
    languages: () => dash.getTracksFor('audio').map(({ lang }) => lang),
    speak: (language) => dash.setCurrentTrack(dash.getTracksFor('audio').find(({ lang }) => lang === language)),
    spoken: () => dash.getCurrentTrackFor('audio')?.lang ?? null,
  };
};`;

/** Library files and adapters by name. */
export const PLAYERS = {
  'hls.js': { library: () => require.resolve('hls.js/dist/hls.min.js'), adapter: HLS },
  shaka: { library: () => require.resolve('shaka-player/dist/shaka-player.compiled.js'), adapter: SHAKA },
  'dash.js': { library: () => require.resolve('dashjs'), adapter: DASHJS },
};
