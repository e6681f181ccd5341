"""What both sides by aiortc need: signalling over HTTP, and addresses of this machine alone."""
import urllib.error
import urllib.request

import aioice.ice

# The server of a test is on this machine.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


def ask(method, url, body=None, **fields):
    request = urllib.request.Request(url, method=method, data=body.encode() if body is not None else None)
    for name, value in fields.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()
