"""A flash and a beep each second, as they are sent and as they are seen and heard, by aiortc."""
import asyncio
import fractions
import math
import time

import numpy
from aiortc import AudioStreamTrack, RTCRtpReceiver, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpSrPacket
from av import AudioFrame, VideoFrame

RATE = 48000
PACKET = 960


# A flash and a beep begin each second together, and last this long.
FLASH = 0.15
BEGINNING = time.time()


class Pictures(VideoStreamTrack):
    """A bar that moves over grey, once around in four seconds, and flashes if wanted: encoders begin anew with each flash."""

    def __init__(self, flashes):
        super().__init__()
        self.flashes = flashes

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        is_bright = self.flashes and (time.time() - BEGINNING) % 1 < FLASH
        picture = numpy.full((180, 320, 3), 250 if is_bright else 60, dtype=numpy.uint8)
        left = int(pts * time_base * 80) % 300
        picture[:, left : left + 20] = (30, 200, 60)
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Beeps(AudioStreamTrack):
    """440 Hz in stereo with the flashes."""

    start = None
    sent = 0

    async def recv(self):
        self.start = self.start or time.time()
        await asyncio.sleep(max(0, self.start + self.sent / RATE - time.time()))
        samples = numpy.arange(self.sent, self.sent + PACKET)
        is_loud = (self.start - BEGINNING + samples / RATE) % 1 < FLASH
        wave = (numpy.sin(samples * 2 * math.pi * 440 / RATE) * 8000 * is_loud).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(numpy.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sent, fractions.Fraction(1, RATE)
        self.sent += PACKET
        return frame


# The last sender report of each kind: seconds of the server's clock, the media's timestamp then, and who has received it.
REPORTED = {}
# Ticks a second of the media's timestamps.
CLOCKS = {"audio": 48000, "video": 90000}
take_report = RTCRtpReceiver._handle_rtcp_packet


async def note_report(receiver, packet):
    if isinstance(packet, RtcpSrPacket):
        told = packet.sender_info
        REPORTED[receiver.track.kind] = (told.ntp_timestamp / 2**32, told.rtp_timestamp, receiver)
    await take_report(receiver, packet)


RTCRtpReceiver._handle_rtcp_packet = note_report


class Decoded:
    """Counts what one track brings."""

    def __init__(self):
        self.frames = 0
        self.loud = 0.0
        self.sizes = []
        self.last = None
        # Timestamps at which a flash or a beep begins, and since when there is none.
        self.begins = []
        self.calm = None

    def note(self, is_there, pts, calm):
        """A flash or a beep begins where there was none for so many ticks."""
        if is_there:
            if self.calm is not None and pts - self.calm > calm:
                self.begins.append(pts)
            self.calm = None
        elif self.calm is None:
            self.calm = pts

    def times(self, kind):
        if kind not in REPORTED:
            return []
        at, timestamp, receiver = REPORTED[kind]
        # Frames are told from the first one's timestamp on.
        timestamp -= receiver._RTCRtpReceiver__timestamp_mapper._origin
        # Timestamps wrap.
        behind = lambda pts: (pts - timestamp + 2**31) % 2**32 - 2**31
        return [at + behind(pts) / CLOCKS[kind] for pts in self.begins]

    async def take(self, track):
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self.frames += 1
            self.last = asyncio.get_running_loop().time()
            if track.kind == "audio":
                samples = frame.to_ndarray().astype(numpy.float64)
                heights = numpy.abs(samples.reshape(-1, len(frame.layout.channels))).max(axis=1) / 32768
                self.loud = max(self.loud, float(heights.max()))
                for at in range(0, len(heights), 48):
                    self.note(heights[at : at + 48].max() > 0.05, frame.pts + at, CLOCKS["audio"] // 5)
                continue
            if [frame.width, frame.height] not in self.sizes:
                self.sizes.append([frame.width, frame.height])
            self.note(frame.to_ndarray(format="gray").mean() > 128, frame.pts, CLOCKS["video"] // 5)
