// A publisher by WHIP in a page, as small as it can be: nothing of it is ours.

/** A Chromium that has a camera and a microphone which show a clock and beep, and connects within one machine. */
export const WITH_CAMERA = {
  flags: ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--allow-loopback-in-peer-connection'],
  permissions: ['camera', 'microphone'],
};

/** Publishes camera and microphone from the page until `window.whip.stop()`; resolves to what the server answered. */
export function publish(page, { url, token, codec, width, height }) {
  return page.evaluate(
    async (wanted) => {
      const stream = await navigator.mediaDevices.getUserMedia({
        video: { width: wanted.width, height: wanted.height, frameRate: 30 },
        audio: true,
      });
      const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
      for (const track of stream.getTracks()) {
        const transceiver = connection.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
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
      await connection.setRemoteDescription({ type: 'answer', sdp: answer });
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
    { url, token, codec, width: Number(width ?? 1280), height: Number(height ?? 720) },
  );
}

/** State of the page's connection. */
export function connectionState(page) {
  return page.evaluate(() => window.whip?.connection.connectionState);
}
