"""Drives a Toxiproxy server with the published Python client. Usage: drive.py API_URL ECHO_HOST:PORT"""

import json
import pathlib
import socket
import sys
import urllib.parse

from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

TOXICS = json.loads((pathlib.Path(__file__).parent.parent / "toxics.json").read_text())


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, expected {wanted!r}")


def refused(what, error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError(f"{what} was not refused")


def ping(listen):
    """Sends a byte through `listen` and waits for its echo."""
    host, port = listen.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"x")
        same("the echo", connection.recv(1), b"x")


def shown(toxic):
    return {
        "name": toxic.name,
        "type": toxic.type,
        "stream": toxic.stream,
        "toxicity": toxic.toxicity,
        "attributes": toxic.attributes,
    }


def drive(url, upstream):
    server = Toxiproxy()
    address = urllib.parse.urlsplit(url)
    server.update_api_consumer(address.hostname, address.port)
    same("running", server.running(), True)
    same("the version's field", list(json.loads(server.version())), ["version"])
    proxy = server.create(name="python", upstream=upstream)
    same("enabled", proxy.enabled, True)
    refused("a second proxy of that name", ProxyExists, server.create, name="python", upstream=upstream)
    same("listen, read back", server.get_proxy("python").listen, proxy.listen)
    same("upstream, read back", server.proxies()["python"].upstream, upstream)
    ping(proxy.listen)

    # This client cannot update a toxic.
    for toxic in TOXICS:
        for stream in ["upstream", "downstream"]:
            wanted = {
                "name": f"{toxic['type']}-{stream}",
                "type": toxic["type"],
                "stream": stream,
                "toxicity": 0.5,
                "attributes": toxic["attributes"],
            }
            proxy.add_toxic(**wanted)
            same("the list of toxics", list(proxy.toxics()), [wanted["name"]])
            same("the toxic", shown(proxy.get_toxic(wanted["name"])), wanted)
            same("destroyed", proxy.destroy_toxic(wanted["name"]), True)
            same("the toxic, destroyed", proxy.get_toxic(wanted["name"]), None)
    refused("removing it again", NotFound, proxy.destroy_toxic, "latency-upstream")
    refused("an unknown toxic", InvalidToxic, proxy.add_toxic, type="nonsense")
    proxy.add_toxic(type="latency", attributes={"latency": 1})
    same("its default name", list(proxy.toxics()), ["latency_downstream"])

    proxy.disable()
    same("enabled, read back", server.get_proxy("python").enabled, False)
    refused("a connection to a disabled proxy", ConnectionRefusedError, ping, proxy.listen)
    proxy.enable()
    ping(proxy.listen)
    with proxy.down():
        refused("a connection to a proxy that is down", ConnectionRefusedError, ping, proxy.listen)
    ping(proxy.listen)

    populated = server.populate([
        {"name": "python", "upstream": upstream, "listen": proxy.listen},
        {"name": "python-2", "upstream": upstream, "listen": "127.0.0.1:0", "enabled": False},
    ])
    same("populated", [made.name for made in populated], ["python-2"])
    second = server.get_proxy("python-2")
    same("enabled", second.enabled, False)
    same("reset", server.reset(), True)
    same("toxics after the reset", proxy.toxics(), {})
    second = server.get_proxy("python-2")
    same("enabled after the reset", second.enabled, True)
    ping(second.listen)
    for gone in [proxy, second]:
        same("destroyed", server.destroy(gone), True)
        same("a destroyed proxy", server.get_proxy(gone.name), None)
        refused("a connection to it", ConnectionRefusedError, ping, gone.listen)
        refused("destroying it again", NotFound, server.destroy, gone)


if __name__ == "__main__":
    try:
        drive(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"python client: {type(error).__name__}: {error}")
