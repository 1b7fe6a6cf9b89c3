"""A reader of events with Python's standard library alone: prints the name and the data of each as a line of JSON."""
import json
import sys
import urllib.request

name, data = "message", []
with urllib.request.urlopen(sys.argv[1], timeout=60) as response:
    for line in response:  # Of bytes: only LF ends one.
        field, _, value = line.decode("utf-8").rstrip("\n").partition(":")
        value = value.removeprefix(" ")
        if line == b"\n":
            if data:
                print(json.dumps({"type": name, "data": "\n".join(data)}), flush=True)
            name, data = "message", []
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
