// A viewer by WHEP in a page, as small as it can be: nothing of it is ours.

/** A Chromium that connects within one machine and plays sound without being asked. */
export const WITH_LOOPBACK = {
  flags: ['--allow-loopback-in-peer-connection', '--autoplay-policy=no-user-gesture-required'],
};

/** Watches in the page's `<video>` until `window.whep.stop()`, over another port than the server tells, or by TCP alone, if wanted; resolves to what the server answered. */
export function watch(page, { url, token, codec, port, tcp }) {
  return page.evaluate(
    async (wanted) => {
      const begun = performance.now();
      const video = document.createElement('video');
      Object.assign(video, { autoplay: true, playsInline: true, muted: false });
      document.body.append(video);
      const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
      const stream = new MediaStream();
      video.srcObject = stream;
      for (const kind of ['audio', 'video']) {
        const transceiver = connection.addTransceiver(kind, { direction: 'recvonly' });
        if (kind !== 'video' || !wanted.codec) continue;
        const { codecs } = RTCRtpReceiver.getCapabilities('video');
        transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === `video/${wanted.codec}` || mimeType === 'video/rtx'));
      }
      connection.addEventListener('track', ({ track, streams: [one] }) => {
        stream.addTrack(track);
        window.whep.streams.add(one?.id);
      });
      await connection.setLocalDescription();
      // Browsers decode stereo only where it is asked for.
      const sdp = connection.localDescription.sdp.replace(/useinbandfec=1/g, 'useinbandfec=1;stereo=1');
      const authorization = wanted.token ? { Authorization: `Bearer ${wanted.token}` } : {};
      const response = await fetch(wanted.url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/sdp', ...authorization },
        body: sdp,
      });
      const answer = await response.text();
      const told = { status: response.status, answer, location: response.headers.get('Location'), etag: response.headers.get('ETag') };
      if (!response.ok) return told;
      window.whep = {
        connection,
        streams: new Set(),
        firstPictureMs: null,
        restart: async () => {
          connection.restartIce();
          await connection.setLocalDescription();
          const words = (sdp) => ['ice-ufrag', 'ice-pwd'].map((name) => new RegExp(`a=${name}:(.*)`).exec(sdp)[1].trim());
          const [name, password] = words(connection.localDescription.sdp);
          const restarted = await fetch(told.location, {
            method: 'PATCH',
            headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*', ...authorization },
            body: `a=ice-ufrag:${name}\r\na=ice-pwd:${password}\r\n`,
          });
          const [theirs, secret] = words(await restarted.text());
          const anew = answer.replace(/a=ice-ufrag:.*/g, `a=ice-ufrag:${theirs}`).replace(/a=ice-pwd:.*/g, `a=ice-pwd:${secret}`);
          await connection.setRemoteDescription({ type: 'answer', sdp: anew });
          return restarted.status;
        },
        stop: async () => {
          connection.close();
          return (await fetch(told.location, { method: 'DELETE', headers: authorization })).status;
        },
      };
      video.requestVideoFrameCallback((now) => (window.whep.firstPictureMs = now - begun));
      const through = wanted.port ? answer.replace(/(a=candidate:.* )\d+( typ host)/g, `$1${wanted.port}$2`) : answer;
      await connection.setRemoteDescription({ type: 'answer', sdp: wanted.tcp ? through.replace(/a=candidate:.* udp .*\r\n/g, '') : through });
      return told;
    },
    { url, token, codec, port, tcp },
  );
}

/** What the browser counts of pictures and sound. */
export function counts(page) {
  return page.evaluate(async () => {
    const found = { state: window.whep.connection.connectionState, firstPictureMs: window.whep.firstPictureMs };
    const reports = await window.whep.connection.getStats();
    for (const [, report] of reports) {
      if (report.type === 'transport') found.by = reports.get(reports.get(report.selectedCandidatePairId)?.localCandidateId)?.protocol;
      if (report.type !== 'inbound-rtp') continue;
      const codec = reports.get(report.codecId)?.mimeType;
      found[report.kind] = {
        codec,
        packets: report.packetsReceived,
        lost: report.packetsLost,
        frames: report.framesDecoded,
        dropped: report.framesDropped,
        freezes: report.freezeCount,
        frozenS: report.totalFreezesDuration,
        width: report.frameWidth,
        height: report.frameHeight,
        playoutAt: report.estimatedPlayoutTimestamp,
        heldMs: report.jitterBufferEmittedCount ? (report.jitterBufferDelay / report.jitterBufferEmittedCount) * 1000 : null,
        jitterMs: report.jitter * 1000,
        targetMs: report.jitterBufferEmittedCount ? (report.jitterBufferTargetDelay / report.jitterBufferEmittedCount) * 1000 : null,
        leastMs: report.jitterBufferEmittedCount ? (report.jitterBufferMinimumDelay / report.jitterBufferEmittedCount) * 1000 : null,
        emitted: report.jitterBufferEmittedCount,
        concealed: report.concealedSamples,
        samples: report.totalSamplesReceived,
        energy: report.totalAudioEnergy,
        plis: report.pliCount,
        nacks: report.nackCount,
      };
    }
    return found;
  });
}
