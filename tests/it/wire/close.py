"""Closes one WebSocket as the library `websockets` does and prints how it ended.

Arguments: URL, subprotocols, code. With `auth` as a fourth, prints the nonce of `hello` and sends
the proof that it reads from standard input first.
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect


async def main(url: str, subprotocols: str, code: str, auth: bool) -> None:
    offered = [name.strip() for name in subprotocols.split(",")]
    async with connect(url, subprotocols=offered, compression=None, proxy=None) as socket:
        first = json.loads(await socket.recv())
        if auth:
            print(first["nonce"], flush=True)
            await socket.send(json.dumps({"type": "auth", "proof": sys.stdin.readline().strip()}))
            while json.loads(await socket.recv())["type"] != "welcome":
                pass
        await socket.close(int(code))
        print(socket.close_code, socket.protocol.close_rcvd is not None, flush=True)


asyncio.run(main(*sys.argv[1:4], auth=sys.argv[4:] == ["auth"]))
