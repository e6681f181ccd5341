"""A server that takes streams by WHIP at /whip and gives one by WHEP at /whep, with aiortc, until it is ended.

usage: webrtc-server-aiortc.py PORT [--token TOKEN]
`GET /` tells in JSON what has been decoded of the streams so far, and how many sessions were begun and ended.
"""
import argparse
import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiortc import RTCPeerConnection, RTCSessionDescription

import signalling  # noqa: F401: addresses of this machine alone
from flashes import Beeps, Decoded, Pictures

LOOP = asyncio.new_event_loop()
SESSIONS = {}
TOLD = {"begun": 0, "ended": 0, "refused": 0}
DECODED = {"audio": Decoded(), "video": Decoded()}


async def answer(offer, is_sent):
    connection = RTCPeerConnection()

    @connection.on("track")
    def came(track):
        asyncio.ensure_future(DECODED[track.kind].take(track))

    await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    if is_sent:
        for track in (Beeps(), Pictures(False)):
            connection.addTrack(track)
    await connection.setLocalDescription(await connection.createAnswer())
    TOLD["begun"] += 1
    session = f"/sessions/{TOLD['begun']}"
    SESSIONS[session] = connection
    return session, connection.localDescription.sdp


class Handler(BaseHTTPRequestHandler):
    token = None

    def log_message(self, *_):
        pass

    def reply(self, status, kind, body="", **fields):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body.encode()), **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self):
        decoded = {kind: {"frames": track.frames, "loud": track.loud, "sizes": track.sizes} for kind, track in DECODED.items()}
        self.reply(200, "application/json", json.dumps({**TOLD, **decoded}))

    def do_POST(self):
        offer = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.token and self.headers["Authorization"] != f"Bearer {self.token}":
            TOLD["refused"] += 1
            self.reply(401, "application/json", json.dumps({"detail": "this token is not known here"}))
            return
        if self.path not in ("/whip", "/whep"):
            self.reply(307, "text/plain", Location=self.path.replace("/moved", ""))
            return
        answering = asyncio.run_coroutine_threadsafe(answer(offer, self.path == "/whep"), LOOP)
        session, description = answering.result(20)
        self.reply(201, "application/sdp", description, Location=session)

    def do_DELETE(self):
        connection = SESSIONS.pop(self.path, None)
        if connection is None:
            self.reply(404, "text/plain")
            return
        asyncio.run_coroutine_threadsafe(connection.close(), LOOP).result(20)
        TOLD["ended"] += 1
        self.reply(200, "text/plain")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--token")
    options = parser.parse_args()
    Handler.token = options.token
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


main()
