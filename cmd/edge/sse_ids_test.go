// SPDX-License-Identifier: Apache-2.0

package main

import (
	"reflect"
	"testing"

	"tickedge/internal/sse"
	"tickedge/internal/topics"
)

// A reader has with each event the id that was sent last, also one that came alone, and keeps none of its own.
func TestEventIDs(t *testing.T) {
	t.Parallel()
	payloads := oddPayloads(t)
	ids := []string{"", topics.NoToken, "gQ8x_-AZ09", "", "一", "a b", " ", "x", "", "0"}
	var stream []byte
	var want, wantInGo []event
	last := ""
	for i, payload := range payloads {
		one, events := framed(t, []string{payload}, false)
		one = one[len(sse.AppendRetry(nil, 1500)) : len(one)-len(sse.AppendRetry(sse.AppendComment(nil), 420))]
		if id := ids[i%len(ids)]; id != "" {
			one, last = sse.AppendID(one, id), id
		}
		events[0].ID = last
		stream = append(stream, one...)
		want, wantInGo = append(want, events...), append(wantInGo, events...)
		if i%4 == 3 {
			last = "alone"
			stream = sse.AppendComment(append(stream, sse.AppendID(nil, last)...))
			wantInGo = append(wantInGo, event{"message", "", last}) // See go_sse in events.json.
		}
	}
	for cut := -1; cut <= len(stream); cut++ {
		if got := goReads(t, string(stream), cut); !reflect.DeepEqual(got, wantInGo) {
			t.Fatalf("cut at %d: got %q\nwant %q", cut, got, wantInGo)
		}
	}
	for _, got := range browserReads(t, eventServer(t, map[string]string{"ids": string(stream)}), []string{"/?stream=ids&cut=0", "/?stream=ids&cut=-1"}) {
		if !reflect.DeepEqual(got.Events, want) {
			t.Errorf("%s: got %+v\nwant %+v", got.URL, got, want)
		}
	}
}
