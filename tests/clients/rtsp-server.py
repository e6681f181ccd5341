#!/usr/bin/python3
"""Plays bars and a tone to whoever asks by RTSP, as cameras and other servers do (GStreamer's own server).

Prints its URL once it listens, and goes on until it is ended."""
import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODERS = {
    "h264": "x264enc speed-preset=ultrafast tune={tune} key-int-max=30 bframes={b_frames} ! rtph264pay name=pay0 pt=96 config-interval=1",
    "h265": "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=30 ! h265parse ! rtph265pay name=pay0 pt=96 config-interval=1",
    "vp8": "vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay name=pay0 pt=96",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="0")
    parser.add_argument("--codec", choices=ENCODERS, default="h264")
    parser.add_argument("--b-frames", type=int, default=0)
    parser.add_argument("--silent", action="store_true", help="without sound")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    options = parser.parse_args()

    Gst.init(None)
    tune = "0" if options.b_frames else "zerolatency"
    encoder = ENCODERS[options.codec].format(tune=tune, b_frames=options.b_frames)
    pipeline = f"( videotestsrc is-live=true pattern=smpte ! video/x-raw,width=320,height=180,framerate=30/1 ! videoconvert ! {encoder}"
    if not options.silent:
        pipeline += " audiotestsrc is-live=true wave=sine freq=440 ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97"
    pipeline += " )"

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(pipeline)
    factory.set_shared(True)
    if options.user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        basic = GstRtspServer.RTSPAuth.make_basic(options.user, options.password)
        auth.add_basic(basic, token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/cam", factory)
    if server.attach(None) == 0:
        sys.exit("it cannot listen")
    print(f"rtsp://127.0.0.1:{server.get_bound_port()}/cam", flush=True)
    GLib.MainLoop().run()


main()
