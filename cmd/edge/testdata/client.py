"""A client by Python's websockets: prints each message, ends after an update of AAPL."""
import asyncio
import json
import sys

import websockets


async def main(url):
    async with websockets.connect(url) as ws:
        await ws.send(json.dumps({"op": "subscribe", "topics": ["AAPL"], "id": "py"}))
        async for text in ws:
            assert isinstance(text, str)
            print(text, flush=True)
            message = json.loads(text)
            if message["t"] == "update" and any(row["s"] == "AAPL" for row in message["d"]):
                break
        pong = await ws.ping()
        await asyncio.wait_for(pong, 10)
    print(json.dumps({"t": "(close)", "code": ws.close_code}))


asyncio.run(main(sys.argv[1]))
