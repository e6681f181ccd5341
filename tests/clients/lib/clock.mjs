// Reads the time out of pictures of `playhouse demo --live` when the browser shows them: a strip of black and white cells (24 bits
// of milliseconds since 1970, highest first, then even parity).

/** Runs in the page; `window.clock` has the delays. */
export function readPictures() {
  const CELLS = 25;
  const video = document.querySelector('video');
  const canvas = document.createElement('canvas');
  const strip = canvas.getContext('2d', { willReadFrequently: true });
  const clock = { delays: [], unreadable: 0, stalls: 0 };
  window.clock = clock;
  video.addEventListener('waiting', () => (clock.stalls += 1));
  const look = (_, { expectedDisplayTime, width, height }) => {
    video.requestVideoFrameCallback(look);
    canvas.width = width;
    canvas.height = 1;
    strip.drawImage(video, 0, height - Math.floor(height / 24), width, 1, 0, 0, width, 1);
    const { data } = strip.getImageData(0, 0, width, 1);
    const cell = Math.floor(width / CELLS);
    const bits = Array.from({ length: CELLS }, (_, at) => Number(data[(at * cell + (cell >> 1)) * 4] > 128));
    const shown = Math.round(performance.timeOrigin + expectedDisplayTime) % 2 ** 24;
    const taken = bits.slice(0, -1).reduce((value, bit) => value * 2 + bit, 0);
    if (bits.reduce((sum, bit) => sum + bit, 0) % 2) clock.unreadable += 1;
    else clock.delays.push((shown - taken + 2 ** 24) % 2 ** 24);
  };
  video.requestVideoFrameCallback(look);
}
