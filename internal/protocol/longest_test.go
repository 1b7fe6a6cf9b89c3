// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// longestMessage is how long a payload is at most, with so many topics a conn. Each kind
// keeps to it by itself: snapshots and updates end before, and what names topics has at most
// 256 bytes for each of them, with all that is around.
func longestMessage(maxTopics int) int { return max(64<<10, 256*maxTopics) }

// Every kind of message at its worst is as short as docs/PROTOCOL.md says. Snapshots and
// updates are package fanout's to end in time.
func TestLongestMessage(t *testing.T) {
	name := strings.Repeat("N", 64)
	id := []byte(`"` + strings.Repeat("i", idMax) + `"`)
	longReason := strings.Repeat("r", 1000)
	for _, maxTopics := range []int{1, 16, 150, 255, 256, 257, 4096} {
		names := slices.Repeat([]string{name}, maxTopics)
		kinds := map[string][]byte{
			"hello":        AppendHello(nil, 1<<32-1, 60000, 3600000, maxTopics),
			"topics":       AppendTopics(nil, id, slices.Values(names), nil),
			"stale":        appendStaleFor(nil, 503, longReason[:100], names...),
			"interval":     AppendInterval(nil, 60000, "recovered"),
			"pong":         AppendPong(nil, &Command{ID: id}, 1<<62),
			"heartbeat":    (&Heartbeat{Now: 1 << 62, Tick: 1 << 62, Lag: 1 << 62}).Append(nil),
			"announcement": AppendAnnouncement(nil, strings.Repeat("\x01", 1024)),
			"bye":          AppendBye(nil, CodeSlowConsumer, longReason[:100], 1<<31),
			"error":        AppendError(nil, &CommandError{Code: ErrMalformed, Reason: strings.Repeat("\x01", 100_000), ID: id}),
		}
		for what, topic := range map[string]string{
			"name": name, "short": "", "control": strings.Repeat("\x01", 64), "quotes": strings.Repeat(`"\`, 32),
			"broken": strings.Repeat("\xff", 64), "wide": strings.Repeat("\u2028", 21), "long": strings.Repeat("N", 5000),
			"as long as a head": strings.Repeat("N", 64<<10), "controls": strings.Repeat("\x01", 64<<10/maxTopics),
		} {
			ack := Ack{ID: id, Op: OpUnsubscribe, Topics: maxTopics, MS: 60000, MaxTopics: maxTopics,
				Rejected: slices.Repeat([]Rejected{{topic, maxTopics - 1, ErrTooManyTopics, longReason}}, maxTopics)}
			kinds["ack, "+what] = ack.Append(nil)
		}
		for kind, b := range kinds {
			if n := len(payloadText(t, b)); n > longestMessage(maxTopics) {
				t.Errorf("%s with %d topics has %d bytes, want at most %d", kind, maxTopics, n, longestMessage(maxTopics))
			}
		}
	}
}

// Whatever a message has for names, and however many: each comes back as it was sent.
func TestRejectedNamesComeBack(t *testing.T) {
	for _, maxTopics := range []int{1, 16, 256, 4096} {
		room := MessageMax(maxTopics) - len(`{"op":"subscribe","topics":[]}`)
		for _, text := range []string{"N", `\u0001`, `\"`, `\\`, "\u2028", "😀", `\u00e9`, `\/`, `\n`, "\x7f"} {
			for _, n := range []int{1, 2, maxTopics} { // As long as they can be.
				if n > maxTopics || maxTopics == 4096 && text != `\u0001` && text != "😀" {
					continue
				}
				one := strings.Repeat(text, (room/n-len(`"",`))/len(text))
				msg := `{"op":"subscribe","topics":[` + strings.Repeat(`"`+one+`",`, n-1) + `"` + one + `"]}`
				if len(msg) > MessageMax(maxTopics) || len(msg) < MessageMax(maxTopics)-n*len(text)-3*n {
					t.Fatalf("the command has %d bytes", len(msg))
				}
				cmd, wrong := NewParser(maxTopics).Parse([]byte(msg))
				if wrong != nil {
					t.Fatal(wrong)
				}
				ack := Ack{Op: OpSubscribe, MaxTopics: maxTopics}
				for i, name := range cmd.Topics {
					ack.Rejected = append(ack.Rejected, Rejected{string(name), i, ErrBadTopic, strings.Repeat("r", 120)})
				}
				b := ack.Append(nil)
				var got struct{ Rejected []struct{ Topic *string } }
				if err := json.Unmarshal(b, &got); err != nil || len(got.Rejected) != n || len(b) > longestMessage(maxTopics) {
					t.Fatalf("%d names of %q: an ack of %d bytes with %d names: %v", n, text, len(b), len(got.Rejected), err)
				}
				for i, r := range got.Rejected {
					if r.Topic == nil || *r.Topic != string(cmd.Topics[i]) {
						t.Fatalf("%d names of %q: number %d does not come back", n, text, i)
					}
				}
			}
		}
	}
}

// What can't be shown is told by its place: names that are no UTF-8, and those of a long head
// that have no room. Shorter ones behind them may have.
func TestRejectedPlaces(t *testing.T) {
	long := strings.Repeat("N", MessageMax(1))
	ack := Ack{Op: OpSubscribe, MaxTopics: 1, Rejected: []Rejected{
		{"A", 0, 403, "no"}, {"\xff", 1, 422, "no"}, {long, 2, 422, "no"}, {"B\xc3", 5, 422, "no"}, {"C", 7, 422, "no"},
	}}
	want := `{"t":"ack","op":"subscribe","topics":0,"rejected":[{"topic":"A","code":403,"reason":"no"},{"index":1,"code":422,"reason":"no"},` +
		`{"index":2,"code":422,"reason":"no"},{"index":5,"code":422,"reason":"no"},{"topic":"C","code":422,"reason":"no"}]}`
	if got := payloadText(t, ack.Append(nil)); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
