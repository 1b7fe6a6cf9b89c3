// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tickedge/internal/contracttest"
)

// payloadText checks that a payload is one valid JSON value.
func payloadText(t testing.TB, payload []byte) string {
	t.Helper()
	if !utf8.Valid(payload) || !json.Valid(payload) {
		t.Fatalf("no valid JSON: %.300q", payload)
	}
	return string(payload)
}

// The forms that the protocol document shows, byte for byte.
func TestMessagesAreAsDocumented(t *testing.T) {
	rejected := []Rejected{{"bad name", 0, ErrBadTopic, "…"}, {"\xff", 3, ErrBadTopic, "…"}}
	tests := []struct {
		got  []byte
		want string
	}{
		{AppendHello(nil, 0x7f3a91c2, 500, 20000, 256), `{"t":"hello","v":1,"conn":"7f3a91c2","interval":500,"heartbeat":20000,"max_topics":256}`},
		{(&Ack{ID: []byte("1"), Op: OpSubscribe, Topics: 2, Rejected: rejected}).Append(nil),
			`{"t":"ack","id":1,"op":"subscribe","topics":2,"rejected":[{"topic":"bad name","code":422,"reason":"…"},{"index":3,"code":422,"reason":"…"}]}`},
		{AppendTopics(nil, []byte("3"), slices.Values([]string{"AAPL", "MSFT"}), nil), `{"t":"topics","id":3,"topics":["AAPL","MSFT"]}`},
		{AppendError(nil, &CommandError{Code: 400, Reason: `unknown op "subscrbe"`, ID: []byte("9")}), `{"t":"error","id":9,"code":400,"reason":"unknown op \"subscrbe\""}`},
		{(&Heartbeat{Now: 1732181744000, FeedUp: true, Tick: 1732181743000, Lag: 2}).Append(nil),
			`{"t":"heartbeat","ts":1732181744000,"feed":"up","tick":1732181743000,"lag":2}`},
		{(&Feed{Since: 1732181744000}).Append(nil), `{"t":"feed","state":"down","since":1732181744000}`},
		{(&Feed{Up: true, Since: 1732181751000, Topics: "fx:*,crypto:*"}).Append(nil),
			`{"t":"feed","state":"up","since":1732181751000,"topics":"fx:*,crypto:*"}`},
		{appendStale(nil, "AAPL", "MSFT"), `{"t":"stale","ts":1732181755000,"topics":["AAPL","MSFT"]}`},
		{appendStaleFor(nil, 403, "the source of the ticks does not …", "AAPL"),
			`{"t":"stale","ts":1732181755000,"code":403,"reason":"the source of the ticks does not …","topics":["AAPL"]}`},
		{appendUnsubscribed(nil, "the edge is full of topics, and …", "NOSUCH"),
			`{"t":"unsubscribed","topics":["NOSUCH"],"reason":"the edge is full of topics, and …"}`},
		{(&Ack{ID: []byte("7"), Op: OpSubscribe, Topics: 2, Claimed: true, Resumed: true}).Append(nil), `{"t":"ack","id":7,"op":"subscribe","topics":2,"resumed":true}`},
		{(&Ack{Op: OpSubscribe, Claimed: true}).Append(nil), `{"t":"ack","op":"subscribe","topics":0,"resumed":false}`},
		{AppendResume(nil, "gQ8x…"), `{"t":"resume","token":"gQ8x…"}`},
		{AppendInterval(nil, 1000, "slow"), `{"t":"interval","ms":1000,"reason":"slow"}`},
		{AppendAnnouncement(nil, "Maintenance at 18:00 UTC"), `{"t":"announcement","text":"Maintenance at 18:00 UTC"}`},
		{AppendPong(nil, &Command{ID: []byte("6")}, 1732181744001), `{"t":"pong","id":6,"ts":1732181744001}`},
		{AppendBye(nil, CodeRestart, "draining", 4200), `{"t":"bye","code":1012,"reason":"draining","retry_ms":4200}`},
	}
	var seen contracttest.Seen
	for _, head := range [][]byte{AppendSnapshotHead(nil, 1), AppendUpdateHead(nil, 1)} {
		if err := seen.Receive(append(head, `{"s":"AAPL","n":0,"v":null}]}`...)); err != nil {
			t.Error(err)
		}
	}
	if err := seen.Receive(AppendPong(nil, &Command{Word: QuotedWord}, 1)); err != nil {
		t.Error(err)
	}
	for _, tt := range tests {
		if err := seen.Receive(tt.got); err != nil {
			t.Error(err)
		}
		if got := payloadText(t, tt.got); got != tt.want {
			t.Errorf("\n got %s\nwant %s", got, tt.want)
		}
	}
	// Messages of screens are made elsewhere.
	want := slices.DeleteFunc(slices.Clone(contracttest.Server), func(kind string) bool { return kind == "screen" })
	if missing := seen.Missing(want); len(missing) > 0 {
		t.Errorf("%q are published and not appended here", missing)
	}
}

func appendStale(dst []byte, names ...string) []byte { return appendStaleFor(dst, 0, "", names...) }

func appendStaleFor(dst []byte, code int, reason string, names ...string) []byte {
	dst = AppendStaleHead(dst, 1732181755000, code, reason)
	for _, name := range names {
		dst = AppendName(dst, name)
	}
	return append(dst, NamesEnd...)
}

func appendUnsubscribed(dst []byte, reason string, names ...string) []byte {
	dst = append(dst, UnsubscribedHead...)
	for _, name := range names {
		dst = AppendName(dst, name)
	}
	return AppendUnsubscribedEnd(dst, reason)
}

func TestUnsubscribedTopicsOfOneMessage(t *testing.T) {
	names := make([]string, UnsubscribedMax)
	for i := range names {
		names[i] = fmt.Sprintf("%064d", i)
	}
	var m struct {
		Topics []string
		Reason string
	}
	b := appendUnsubscribed(nil, strings.Repeat("x", 100), names...)
	if err := json.Unmarshal([]byte(payloadText(t, b)), &m); err != nil || !slices.Equal(m.Topics, names) || len(m.Reason) != 100 {
		t.Fatalf("%d names came back, %v", len(m.Topics), err)
	}
	if len(b) > 64<<10 {
		t.Errorf("%d bytes", len(b))
	}
}

// The longest there is: as many topics as a conn can have, with the longest names.
func TestStaleTopicsOfAFullConn(t *testing.T) {
	names := make([]string, 4096)
	for i := range names {
		names[i] = fmt.Sprintf("%064d", i)
	}
	var m struct{ Topics []string }
	if err := json.Unmarshal([]byte(payloadText(t, appendStale(nil, names...))), &m); err != nil || !slices.Equal(m.Topics, names) {
		t.Fatalf("%d names came back, %v", len(m.Topics), err)
	}
}

func TestRowsAreAsDocumented(t *testing.T) {
	const row = `{"s":"AAPL","n":8812,"v":{"p":189.87,"ts":1732181723411}}`
	for kind, head := range map[string][]byte{
		"snapshot": AppendSnapshotHead(nil, 1732181723500),
		"update":   AppendUpdateHead(nil, 1732181723500),
	} {
		for rows := range 3 {
			b := bytes.Clone(head)
			b = append(b, strings.Join(slices.Repeat([]string{row}, rows), ",")...)
			got := payloadText(t, append(b, RowsEnd...))
			want := `{"t":"` + kind + `","ts":1732181723500,"d":[` + strings.Join(slices.Repeat([]string{row}, rows), ",") + `]}`
			if got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		}
	}
}

// What is not there is left out, and the ends of numbers' ranges are written whole.
func TestMessageVariants(t *testing.T) {
	two := []Rejected{{"a", 0, 403, "no"}, {"b", 1, 413, "full"}}
	tests := []struct {
		got  []byte
		want string
	}{
		{AppendHello(nil, 0, 0, 0, 0), `{"t":"hello","v":1,"conn":"00000000","interval":0,"heartbeat":0,"max_topics":0}`},
		{AppendHello(nil, math.MaxUint32, 1, 2, 3), `{"t":"hello","v":1,"conn":"ffffffff","interval":1,"heartbeat":2,"max_topics":3}`},
		{(&Ack{Op: OpUnsubscribe}).Append(nil), `{"t":"ack","op":"unsubscribe","topics":0}`},
		{(&Ack{Op: OpInterval, MS: 1000, Topics: 3, ID: []byte(`"x"`)}).Append(nil), `{"t":"ack","id":"x","op":"interval","topics":3,"ms":1000}`},
		{(&Ack{Op: OpSubscribe, Rejected: two}).Append(nil),
			`{"t":"ack","op":"subscribe","topics":0,"rejected":[{"topic":"a","code":403,"reason":"no"},{"topic":"b","code":413,"reason":"full"}]}`},
		{AppendTopics(nil, nil, slices.Values([]string(nil)), nil), `{"t":"topics","topics":[]}`},
		{AppendTopics(nil, nil, slices.Values([]string{"A"}), nil), `{"t":"topics","topics":["A"]}`},
		{AppendError(nil, &CommandError{Code: 413}), `{"t":"error","code":413,"reason":""}`},
		{AppendPong(nil, &Command{}, 0), `{"t":"pong","ts":0}`},
		{AppendPong(nil, &Command{Word: QuotedWord}, 1), `"pong"`},
		{(&Heartbeat{}).Append(nil), `{"t":"heartbeat","ts":0,"feed":"down","lag":0}`},
		{(&Heartbeat{math.MaxInt64, true, math.MaxInt64, math.MaxInt64}).Append(nil),
			`{"t":"heartbeat","ts":9223372036854775807,"feed":"up","tick":9223372036854775807,"lag":9223372036854775807}`},
		{appendStale(nil, "A"), `{"t":"stale","ts":1732181755000,"topics":["A"]}`},
		{AppendBye(nil, CodeIdle, "idle", 0), `{"t":"bye","code":4003,"reason":"idle"}`},
	}
	for _, tt := range tests {
		if got := payloadText(t, tt.got); got != tt.want {
			t.Errorf("\n got %s\nwant %s", got, tt.want)
		}
	}
}

// Every encoder leaves what is in dst before and appends the same as to nothing.
func TestEncodersAppend(t *testing.T) {
	encoders := map[string]func(dst []byte) []byte{
		"hello": func(dst []byte) []byte { return AppendHello(dst, 1, 500, 20000, 256) },
		"ack": func(dst []byte) []byte {
			return (&Ack{Op: OpSubscribe, Rejected: []Rejected{{"a", 0, 422, "b"}}}).Append(dst)
		},
		"long ack": func(dst []byte) []byte {
			return (&Ack{Rejected: slices.Repeat([]Rejected{{"a", 0, 422, "b"}}, 9999)}).Append(dst)
		},
		"topics":     func(dst []byte) []byte { return AppendTopics(dst, nil, slices.Values([]string{"A", "B"}), nil) },
		"error":      func(dst []byte) []byte { return AppendError(dst, &CommandError{Code: 400, Reason: "r"}) },
		"pong":       func(dst []byte) []byte { return AppendPong(dst, &Command{ID: []byte("1")}, 2) },
		"word":       func(dst []byte) []byte { return AppendPong(dst, &Command{Word: BareWord}, 2) },
		"heartbeat":  func(dst []byte) []byte { return (&Heartbeat{Now: 3}).Append(dst) },
		"feed":       func(dst []byte) []byte { return (&Feed{Since: 3, Topics: "fx:*"}).Append(dst) },
		"stale":      func(dst []byte) []byte { return appendStale(dst, "A", "B") },
		"refused":    func(dst []byte) []byte { return appendStaleFor(dst, 403, "r", "A", "B") },
		"long stale": func(dst []byte) []byte { return appendStale(dst, slices.Repeat([]string{"a"}, 9999)...) },
		"interval":   func(dst []byte) []byte { return AppendInterval(dst, 5000, "slow") },
		"bye":        func(dst []byte) []byte { return AppendBye(dst, CodeRestart, "r", 4) },
	}
	for name, encode := range encoders {
		alone := encode(nil)
		for _, before := range []string{"x", strings.Repeat("before", 100)} {
			for _, room := range []int{0, 1, 5, 100000} {
				dst := append(make([]byte, 0, len(before)+room), before...)
				if got := encode(dst); string(got) != before+string(alone) {
					t.Errorf("%s after %d bytes with room for %d: %.200q", name, len(before), room, got)
				}
			}
		}
	}
}

var hostileText = []string{
	"", `"`, `\`, `"}],"t":"bye"`, "\x00\x01\x1f\x7f", "\n\r\t\b\f", "</script><!--", "\u2028\u2029", "é€😀", "\ufeff",
	"\xff", "\xc3", "\xed\xa0\x80", "a\xf0\x9f\x98", strings.Repeat("\xff", 70), strings.Repeat(`"`, 200), strings.Repeat("😀", 100),
}

func TestHostileTextStaysInItsString(t *testing.T) {
	for _, s := range hostileText {
		check := func(name string, frame []byte, get func(m map[string]any) any) {
			t.Helper()
			var m map[string]any
			if err := json.Unmarshal([]byte(payloadText(t, frame)), &m); err != nil {
				t.Fatalf("%s %q: %v", name, s, err)
			}
			got, ok := get(m).(string)
			// Of text that is no UTF-8, it matters only that it is replaced.
			if !ok || utf8.ValidString(s) && got != s {
				t.Errorf("%s: %q comes back as %q", name, s, got)
			}
		}
		reason := func(m map[string]any) any { return m["reason"] }
		check("error", AppendError(nil, &CommandError{Code: 400, Reason: s, ID: []byte(`"id"`)}), reason)
		check("bye", AppendBye(nil, CodeRestart, s, 1), reason)
		check("feed", (&Feed{Topics: "A" + s}).Append(nil), func(m map[string]any) any { return strings.TrimPrefix(m["topics"].(string), "A") })
		check("topics", AppendTopics(nil, nil, slices.Values([]string{"A", s}), nil), func(m map[string]any) any { return m["topics"].([]any)[1] })
		ack := (&Ack{Op: OpSubscribe, Rejected: []Rejected{{"A", 0, 422, "x"}, {s, 1, 422, Cut(s, 100)}}}).Append(nil)
		of := func(m map[string]any, key string) any { return m["rejected"].([]any)[1].(map[string]any)[key] }
		check("ack", ack, func(m map[string]any) any {
			if at := of(m, "index"); !utf8.ValidString(s) && at == 1.0 && of(m, "topic") == nil {
				return s
			}
			return of(m, "topic")
		})
		if m := payloadText(t, ack); len(s) <= 100 && utf8.ValidString(s) {
			check("reason of an ack", []byte(m), func(m map[string]any) any { return of(m, "reason") })
		}
	}
}

// What a client sent as id and as op comes back in an answer that is still JSON.
func TestHostileCommandsAreAnswered(t *testing.T) {
	p := NewParser(testTopicsMax)
	for _, s := range hostileText {
		quoted, _ := json.Marshal(s)
		msgs := []string{
			`{"id":` + string(quoted) + `,"op":` + string(quoted) + `}`,
			`{"` + s + `":1,"op":"` + s + `"}`, s, `{` + s, `{"op":"ping"` + s, `{"op":"ping","id":` + s + `}`,
		}
		for _, msg := range msgs {
			cmd, err := p.Parse([]byte(msg))
			if err != nil {
				checkCommandError(t, msg, err)
				payloadText(t, AppendError(nil, err))
			} else {
				payloadText(t, (&Ack{ID: cmd.ID, Op: cmd.Op}).Append(nil))
			}
		}
	}
}
