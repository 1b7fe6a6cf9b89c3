"""A client by Python's websockets: prints each message, ends after an update of AAPL. With a
token, which it brings as a sub-protocol, it ends after the message that is named behind that."""
import asyncio
import json
import sys

import websockets


async def main(url, token=None, last="update"):
    offer = ["bearer." + token, "tickedge.v1"] if token else None
    async with websockets.connect(url, subprotocols=offer) as ws:
        assert ws.subprotocol == ("tickedge.v1" if token else None)
        await ws.send(json.dumps({"op": "subscribe", "topics": ["AAPL"], "id": "py"}))
        async for text in ws:
            assert isinstance(text, str)
            print(text, flush=True)
            message = json.loads(text)
            if message["t"] == last and any(row["s"] == "AAPL" for row in message["d"]):
                break
        pong = await ws.ping()
        await asyncio.wait_for(pong, 10)
    print(json.dumps({"t": "(close)", "code": ws.close_code}))


asyncio.run(main(*sys.argv[1:]))
