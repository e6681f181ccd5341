"""Publishes pictures and sound by WHIP with aiortc until it is ended, or until the server ends it.

usage: whip-aiortc.py URL [--token TOKEN] [--offer-only] [--flash] [--vp8]
What has been passed is told on the error stream, line by line; the answers are printed as one JSON line at the end.
"""
import argparse
import asyncio
import json
import sys

from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from flashes import Beeps, Pictures
from signalling import ask

async def publish(options):
    authorization = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    connection = RTCPeerConnection()
    ended = asyncio.Event()

    @connection.on("connectionstatechange")
    def changed():
        print(f"passed: {connection.connectionState}", file=sys.stderr, flush=True)
        if connection.connectionState in ("closed", "failed"):
            ended.set()

    for track in (Beeps(), Pictures(options.flash)):
        transceiver = connection.addTransceiver(track, direction="sendonly")
        if options.vp8 and track.kind == "video":
            codecs = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == "video/VP8"])
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
    parser.add_argument("--flash", action="store_true")
    parser.add_argument("--vp8", action="store_true")
    print(json.dumps(asyncio.run(publish(parser.parse_args()))))


main()
