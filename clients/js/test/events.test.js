// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {read} from '../src/sse.js';

/** bodyOf is a response's body that comes in the parts given. */
const bodyOf = (...parts) => new ReadableStream({
  start(c) { for (const p of parts) c.enqueue(p); c.close(); },
});

/** What the edge's tests hold Chromium's EventSource to: streams that readers get wrong, and their events. */
const traps = JSON.parse(readFileSync(new URL('../../../cmd/edge/testdata/events.json', import.meta.url)));

test('streams are read as the HTML standard says, wherever they are cut', async () => {
  assert.ok(traps.length > 20);
  for (const {name, stream, base64, events} of traps) {
    const bytes = base64 ? Buffer.from(base64, 'base64') : Buffer.from(stream);
    const want = events.map(({data, id}) => [data, id]);
    const check = async (what, ...parts) => {
      const got = [];
      await read(bodyOf(...parts), (data, id) => got.push([data, id]));
      assert.deepEqual(got, want, `${name}, ${what}`);
    };
    for (let cut = 0; cut <= bytes.length; cut++) await check('cut at ' + cut, bytes.subarray(0, cut), bytes.subarray(cut));
    await check('byte by byte', ...Array.from(bytes, (b) => Uint8Array.of(b)));
  }
});
