"""Publishes pictures and sound by WHIP with aiortc until it is ended, or until the server ends it.

usage: whip-aiortc.py URL [--token TOKEN] [--offer-only]
What has been passed is told on the error stream, line by line; the answers are printed as one JSON line at the end.
"""
import argparse
import asyncio
import fractions
import json
import math
import sys
import time

import numpy
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from av import AudioFrame, VideoFrame

from signalling import ask

RATE = 48000
PACKET = 960


class Pictures(VideoStreamTrack):
    """A bar that moves over grey, once around in four seconds."""

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        picture = numpy.full((180, 320, 3), 96, dtype=numpy.uint8)
        left = int(pts * time_base * 80) % 300
        picture[:, left : left + 20] = (30, 200, 60)
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """440 Hz in stereo."""

    start = None
    sent = 0

    async def recv(self):
        self.start = self.start or time.time()
        await asyncio.sleep(max(0, self.start + self.sent / RATE - time.time()))
        samples = numpy.arange(self.sent, self.sent + PACKET)
        wave = (numpy.sin(samples * 2 * math.pi * 440 / RATE) * 8000).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(numpy.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sent, fractions.Fraction(1, RATE)
        self.sent += PACKET
        return frame


async def publish(options):
    authorization = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    connection = RTCPeerConnection()
    ended = asyncio.Event()

    @connection.on("connectionstatechange")
    def changed():
        print(f"passed: {connection.connectionState}", file=sys.stderr, flush=True)
        if connection.connectionState in ("closed", "failed"):
            ended.set()

    for track in (Tone(), Pictures()):
        connection.addTransceiver(track, direction="sendonly")
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    told = await asyncio.to_thread(ask, "POST", options.url, offer, Content_Type="application/sdp", **authorization)
    status, headers, answer = told
    results = {"status": status, "location": headers["Location"], "etag": headers["ETag"], "answer": answer}
    if status == 201 and not options.offer_only:
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await ended.wait()
    await connection.close()
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--token")
    parser.add_argument("--offer-only", action="store_true")
    print(json.dumps(asyncio.run(publish(parser.parse_args()))))


main()
