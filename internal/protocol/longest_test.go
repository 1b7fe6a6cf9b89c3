package protocol

import (
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
	// What the parser lets through as an id, and what looks the worst as JSON.
	control, quotes, broken := strings.Repeat("\x01", 64), strings.Repeat(`"\`, 32), strings.Repeat("\xff", 64)
	wide := strings.Repeat("\u2028", 21)
	longReason := strings.Repeat("r", 1000)
	for _, maxTopics := range []int{1, 16, 150, 255, 256, 257, 4096} {
		names := slices.Repeat([]string{name}, maxTopics)
		kinds := map[string][]byte{
			"hello":     AppendHello(nil, 1<<32-1, 60000, 3600000, maxTopics),
			"topics":    AppendTopics(nil, id, slices.Values(names)),
			"stale":     appendStaleFor(nil, 503, longReason[:100], names...),
			"interval":  AppendInterval(nil, 60000, "recovered"),
			"pong":      AppendPong(nil, id, 1<<62),
			"heartbeat": (&Heartbeat{Now: 1 << 62, Tick: 1 << 62, Lag: 1 << 62}).Append(nil),
			"bye":       AppendBye(nil, CodeSlowConsumer, longReason[:100], 1<<31),
			"error":     AppendError(nil, &CommandError{Code: ErrMalformed, Reason: strings.Repeat("\x01", 100_000), ID: id}),
		}
		for what, topic := range map[string]string{"name": name, "control": control, "quotes": quotes, "broken": broken, "wide": wide} {
			ack := Ack{ID: id, Op: OpUnsubscribe, Topics: maxTopics, MS: 60000,
				Rejected: slices.Repeat([]Rejected{{topic, ErrTooManyTopics, longReason}}, maxTopics)}
			kinds["ack, "+what] = ack.Append(nil)
		}
		for kind, b := range kinds {
			if n := len(payloadText(t, b)); n > longestMessage(maxTopics) {
				t.Errorf("%s with %d topics has %d bytes, want at most %d", kind, maxTopics, n, longestMessage(maxTopics))
			}
		}
	}
}

// A legal name and every reason that the edge has are told whole; of other names there is
// enough to find them.
func TestRejectedTopicsAreShortened(t *testing.T) {
	name := strings.Repeat("N", 64)
	reason := "the edge holds its maximum of topics, try again later"
	for _, c := range []struct{ topic, shown string }{
		{name, name},
		{strings.Repeat("\x01", 64), strings.Repeat(`\u0001`, 15)},
		{strings.Repeat(`"`, 64), strings.Repeat(`\"`, 48)},
		{"BTC\nUSD", `BTC\nUSD`},
	} {
		got := payloadText(t, (&Ack{Op: OpSubscribe, Rejected: []Rejected{{c.topic, ErrBadTopic, reason}}}).Append(nil))
		want := `{"t":"ack","op":"subscribe","topics":0,"rejected":[{"topic":"` + c.shown + `","code":422,"reason":"` + reason + `"}]}`
		if got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}
