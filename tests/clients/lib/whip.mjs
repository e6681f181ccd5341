// A publisher by WHIP in a page, as small as it can be: nothing of it is ours.

/** A Chromium that has a camera and a microphone which show a clock and beep, and connects within one machine. */
export const WITH_CAMERA = {
  flags: [
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    '--allow-loopback-in-peer-connection',
    '--autoplay-policy=no-user-gesture-required',
  ],
  permissions: ['camera', 'microphone'],
};

/**
 * Publishes camera and microphone, or a flash and a beep each second, from the page until `window.whip.stop()`, over another port than
 * the server tells, by TCP alone, or in so many sizes at once, if wanted; resolves to what the server answered.
 */
export async function publish(page, { url, token, codec, port, tcp, width, height, flash, layers }) {
  await page.evaluate(flash ? flashing : camera, { width: Number(width ?? 1280), height: Number(height ?? 720) });
  return page.evaluate(
    async (wanted) => {
      const stream = window.source;
      const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
      for (const track of stream.getTracks()) {
        const layer = (_, index) => ({ rid: `layer${index}`, scaleResolutionDownBy: 2 ** (wanted.layers - 1 - index) });
        const sendEncodings = track.kind === 'video' && wanted.layers ? Array.from({ length: wanted.layers }, layer) : [];
        const transceiver = connection.addTransceiver(track, { direction: 'sendonly', streams: [stream], sendEncodings });
        if (track.kind !== 'video' || !wanted.codec) continue;
        const { codecs } = RTCRtpSender.getCapabilities('video');
        transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === `video/${wanted.codec}` || mimeType === 'video/rtx'));
      }
      await connection.setLocalDescription();
      const authorization = wanted.token ? { Authorization: `Bearer ${wanted.token}` } : {};
      const response = await fetch(wanted.url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/sdp', ...authorization },
        body: connection.localDescription.sdp,
      });
      const answer = await response.text();
      const told = { status: response.status, answer, location: response.headers.get('Location'), etag: response.headers.get('ETag') };
      if (!response.ok) return told;
      const through = wanted.port ? answer.replace(/(a=candidate:.* )\d+( typ host)/g, `$1${wanted.port}$2`) : answer;
      await connection.setRemoteDescription({ type: 'answer', sdp: wanted.tcp ? through.replace(/a=candidate:.* udp .*\r\n/g, '') : through });
      window.whip = {
        connection,
        stop: async () => {
          connection.close();
          stream.getTracks().forEach((track) => track.stop());
          return (await fetch(told.location, { method: 'DELETE', headers: authorization })).status;
        },
      };
      return told;
    },
    { url, token, codec, port, tcp, layers: Number(layers ?? 0) },
  );
}

/** Runs in the page. */
async function camera({ width, height }) {
  window.source = await navigator.mediaDevices.getUserMedia({ video: { width, height, frameRate: 30 }, audio: true });
}

/** Runs in the page: white and loud for 0.15 s of each second, by the clock of the sound. */
async function flashing({ width, height }) {
  const context = new AudioContext({ latencyHint: 'interactive' });
  const [oscillator, gain, sound] = [context.createOscillator(), context.createGain(), context.createMediaStreamDestination()];
  oscillator.frequency.value = 1000;
  gain.gain.value = 0;
  oscillator.connect(gain).connect(sound);
  oscillator.start();
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  document.body.append(canvas);
  const pixels = canvas.getContext('2d');
  let next = Math.ceil(context.currentTime + 0.5);
  const draw = () => {
    requestAnimationFrame(draw);
    const now = context.currentTime;
    if (next - now < 0.5) {
      gain.gain.setValueAtTime(0.5, next);
      gain.gain.setValueAtTime(0, next + 0.15);
      next += 1;
    }
    pixels.fillStyle = now % 1 < 0.15 ? 'white' : 'black';
    pixels.fillRect(0, 0, width, height);
    pixels.fillStyle = 'gray';
    pixels.fillRect((now * 80) % width, height / 2, 20, 20);
  };
  draw();
  window.source = new MediaStream([...canvas.captureStream(30).getTracks(), ...sound.stream.getTracks()]);
}

/** State of the page's connection. */
export function connectionState(page) {
  return page.evaluate(() => window.whip?.connection.connectionState);
}
