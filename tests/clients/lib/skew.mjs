// How far sound and pictures are apart when a page's `<video>` shows and plays them: by a bright flash and a beep that begin at the
// same instant, once a second or more rarely.

/**
 * Runs in the page; `window.skew.result()` tells the median, in milliseconds: positive when sound is late. `window.skew.lately(n)`
 * tells that of the last beeps, once there are so many, and `window.skew.anew()` forgets those so far.
 */
export function measureSkew() {
  const video = document.querySelector('video');
  video.muted = false;
  const flashes = [];
  const beeps = [];
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: 8, height: 8 });
  const pixels = canvas.getContext('2d', { willReadFrequently: true });
  let bright = true;
  const look = (_, { expectedDisplayTime }) => {
    video.requestVideoFrameCallback(look);
    pixels.drawImage(video, 0, 0, 8, 8);
    const { data } = pixels.getImageData(0, 0, 8, 8);
    let sum = 0;
    for (let at = 0; at < data.length; at += 4) sum += data[at] + data[at + 1] + data[at + 2];
    const now = sum / (3 * 64) > 128;
    if (now && !bright) flashes.push(expectedDisplayTime);
    bright = now;
  };
  video.requestVideoFrameCallback(look);

  const context = new AudioContext({ latencyHint: 'interactive' });
  const source = video.srcObject ? context.createMediaStreamSource(video.srcObject) : context.createMediaElementSource(video);
  const code = `
    class Beeps extends AudioWorkletProcessor {
      constructor() { super(); this.loud = true; this.quiet = 0; }
      process([[channel]]) {
        if (!channel) return true;
        for (let at = 0; at < channel.length; at += 1) {
          if (Math.abs(channel[at]) > 0.05) {
            if (!this.loud) this.port.postMessage((currentFrame + at) / sampleRate);
            this.loud = true;
            this.quiet = 0;
          } else if ((this.quiet += 1) > sampleRate / 10) this.loud = false;
        }
        return true;
      }
    }
    registerProcessor('beeps', Beeps);`;
  const url = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  void context.audioWorklet.addModule(url).then(() => {
    const node = new AudioWorkletNode(context, 'beeps');
    // Time of the page at which the sample was taken in.
    node.port.onmessage = ({ data }) => beeps.push(performance.now() - (context.currentTime - data) * 1000);
    source.connect(node).connect(context.destination);
  });
  const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? null;
  const nearest = (at) => flashes.reduce((best, flash) => (Math.abs(flash - at) < Math.abs(best - at) ? flash : best), Infinity);
  const skews = () => beeps.map((beep) => beep - nearest(beep)).filter((skew) => Math.abs(skew) < 1000);
  window.skew = {
    lately: (count) => (skews().length < count ? null : median(skews().slice(-count))),
    anew: () => {
      beeps.length = 0;
      flashes.splice(0, flashes.length - 1);
    },
    result: () => {
      const all = skews();
      return { flashes: flashes.length, beeps: beeps.length, median_ms: median([...all]), all: all.map((skew) => Math.round(skew)) };
    },
  };
}
