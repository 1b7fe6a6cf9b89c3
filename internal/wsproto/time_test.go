// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"testing"
	"time"
)

// A message is as old as its first byte, whatever comes between its bytes, and the next
// one is as old as its own.
func TestUnfinished(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(second int) time.Time { return begin.Add(time.Duration(second) * time.Second) }
	const none = -1
	type read struct {
		in    []byte
		since int
	}
	hello := last(opText, "hello")
	first := more(opText, "first")
	ping := last(opPing, "p")
	for _, tt := range []struct {
		name  string
		reads []read // One each second.
	}{
		{"nothing", []read{{nil, none}}},
		{"whole frames", []read{{hello, none}, {join(hello, ping, hello), none}}},
		{"one byte", []read{{hello[:1], 0}, {nil, 0}, {hello[1:], none}}},
		{"byte by byte", []read{{hello[:1], 0}, {hello[1:2], 0}, {hello[2:7], 0}, {hello[7:], none}}},
		{"a control frame", []read{{ping[:3], 0}, {ping[3:], none}, {ping[:1], 2}}},
		{"the next one has begun", []read{{hello[:4], 0}, {join(hello[4:], hello[:4]), 1}, {join(hello[4:], hello, ping[:1]), 2}, {ping[1:], none}}},
		{"fragments", []read{{first, 0}, {more(opCont, ""), 0}, {last(opCont, ""), none}}},
		{"a first fragment in pieces", []read{{first[:3], 0}, {first[3:], 0}, {more(opCont, "x"), 0}, {last(opCont, "")[:2], 0}, {last(opCont, "")[2:], none}}},
		{"pings between fragments", []read{{first, 0}, {ping, 0}, {ping[:2], 0}, {ping[2:], 0}, {last(opCont, ""), none}}},
		{"the next one after fragments", []read{{first, 0}, {join(last(opCont, ""), first), 1}, {join(last(opCont, ""), hello[:9]), 2}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			for i, r := range tt.reads {
				if _, err := drain(t, &d, r.in, roomy); err != nil {
					t.Fatal(err)
				}
				since, ok := d.Unfinished(at(i))
				if ok != (r.since != none) || ok && !since.Equal(at(r.since)) {
					t.Errorf("after read %d: %v since %v, want since second %d", i, ok, since, r.since)
				}
			}
		})
	}
}
