"""Watches by WHEP with aiortc: decodes pictures and sound for some seconds, or until the server ends it.

usage: whep-aiortc.py URL [--token TOKEN] [--seconds N] [--until-ended]
Where a flash and a beep begin together, now and then, it tells how far they are apart by the server's sender reports.
What has been passed is told on the error stream, line by line; what was decoded is printed as one JSON line at the end.
"""
import argparse
import asyncio
import json
import sys
from urllib.parse import urljoin

from aiortc import RTCPeerConnection, RTCSessionDescription

from flashes import Decoded
from signalling import ask


def passed(what):
    print(f"passed: {what}", file=sys.stderr, flush=True)


async def watch(options):
    authorization = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    connection = RTCPeerConnection()
    ended = asyncio.Event()
    decoded = {"audio": Decoded(), "video": Decoded()}
    tasks = []

    @connection.on("connectionstatechange")
    def changed():
        passed(connection.connectionState)
        if connection.connectionState in ("closed", "failed"):
            ended.set()

    @connection.on("track")
    def came(track):
        tasks.append(asyncio.ensure_future(decoded[track.kind].take(track)))

    for kind in ("audio", "video"):
        connection.addTransceiver(kind, direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    told = await asyncio.to_thread(ask, "POST", options.url, offer, Content_Type="application/sdp", **authorization)
    status, headers, answer = told
    results = {"status": status, "location": headers["Location"], "etag": headers["ETag"], "answer": answer}
    if status != 201:
        await connection.close()
        return results
    session = urljoin(options.url, headers["Location"])
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    while min(track.frames for track in decoded.values()) == 0 and not ended.is_set():
        await asyncio.sleep(0.02)
    passed("playing")
    before = {kind: track.frames for kind, track in decoded.items()}
    if options.until_ended:
        await ended.wait()
    else:
        try:
            await asyncio.wait_for(ended.wait(), options.seconds)
        except asyncio.TimeoutError:
            pass
    now = asyncio.get_running_loop().time()
    for kind, track in decoded.items():
        idle = now - track.last if track.last is not None else None
        results[kind] = {"frames": track.frames - before[kind], "loud": track.loud, "sizes": track.sizes, "idle": idle}
    flashes, beeps = (decoded[kind].times(kind) for kind in ("video", "audio"))
    apart = [min((beep - flash for flash in flashes), key=abs, default=1) for beep in beeps]
    apart = sorted(skew for skew in apart if abs(skew) < 0.5)
    median = apart[len(apart) // 2] * 1000 if apart else None
    results["skew"] = {"flashes": len(flashes), "beeps": len(beeps), "median_ms": median}
    results["ended"] = ended.is_set()
    if not ended.is_set():
        results["deleted"] = (await asyncio.to_thread(ask, "DELETE", session, **authorization))[0]
        results["deleted_again"] = (await asyncio.to_thread(ask, "DELETE", session, **authorization))[0]
        await asyncio.wait_for(ended.wait(), 20)
        results["ended"] = True
    await connection.close()
    for task in tasks:
        task.cancel()
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--token")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--until-ended", action="store_true")
    print(json.dumps(asyncio.run(watch(parser.parse_args()))))


main()
