// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// The messages of docs/PROTOCOL.md.
const (
	hello    = `{"t":"hello","v":1,"conn":"7f3a91c2","interval":500,"heartbeat":20000,"max_topics":256}`
	ack      = `{"t":"ack","id":1,"op":"subscribe","topics":2,"rejected":[{"topic":"bad name","code":422,"reason":"…"}]}`
	problem  = `{"t":"error","id":9,"code":400,"reason":"unknown op \"subscrbe\""}`
	snapshot = `{"t":"snapshot","ts":1732181723500,"d":[{"s":"AAPL","n":8812,"v":{"p":189.87,"ts":1732181723411}}]}`
	update   = `{"t":"update","ts":1732181724000,"d":[{"s":"AAPL","n":8831,"v":{"p":189.91,"ts":1732181723990}},` +
		`{"s":"kline:1m:X","n":2,"v":[1,{"ts":5}]},{"s":"B","n":0,"v":null}]}`
	heartbeat = `{"t":"heartbeat","ts":1732181744000}`
	bye       = `{"t":"bye","code":1012,"reason":"draining","retry_ms":4200}`
	screen    = `{"t":"screen","ts":1732181724000,"screen":"movers","full":true,"d":[{"s":"crypto:X","n":9,"v":{"chg_pct":6.1,"ts":7}}],"order":["crypto:X"]}`
	out       = `{"t":"screen","ts":1732181724500,"screen":"movers","d":[],"out":["crypto:X"],"order":[]}`
	screenAck = `{"t":"ack","id":8,"op":"screen","screen":"movers","screens":2}`
	topics    = `{"t":"topics","id":3,"topics":["AAPL","MSFT"]}`
)

// sketch prints what was kept of a message.
func sketch(m *Message) string {
	s := fmt.Sprint(m.Type)
	for _, f := range []struct {
		name string
		n    uint64
	}{{"id", m.ID}, {"topics", m.Topics}, {"code", m.Code}, {"interval", m.Interval}, {"heartbeat", m.Heartbeat}, {"screens", m.Screens}} {
		if f.n != 0 {
			s += fmt.Sprintf(" %s=%d", f.name, f.n)
		}
	}
	if m.Rejected != nil {
		s += " rejected"
	}
	if m.Full {
		s += " full"
	}
	if m.Out != nil {
		s += " out=" + string(m.Out)
	}
	if m.Reason != nil {
		s += " reason=" + string(m.Reason)
	}
	for _, r := range m.Rows {
		s += fmt.Sprintf(" %s/%d/%d", r.Topic, r.N, r.TS)
	}
	return s
}

func TestScan(t *testing.T) {
	var m Message // One for all, so that nothing may be left over.
	for _, c := range []struct{ in, want string }{
		{update, "update AAPL/8831/1732181723990 kline:1m:X/2/0 B/0/0"},
		{hello, "hello interval=500 heartbeat=20000"},
		{ack, "ack id=1 topics=2 rejected"},
		{`{"t":"ack","id":"one","op":"subscribe","topics":2,"rejected":[]}`, "ack topics=2"},
		{problem, `error id=9 code=400 reason=unknown op \"subscrbe\"`},
		{snapshot, "snapshot AAPL/8812/1732181723411"},
		{heartbeat, "heartbeat"},
		{bye, "bye code=1012 reason=draining"},
		{topics, "other id=3"},
		{screen, "screen full crypto:X/9/7"},
		{out, `screen out=["crypto:X"]`},
		{screenAck, "ack id=8 screens=2"},
		{`{"t":"screen","full":false,"out":[],"d":[]}`, "screen"},
		{`{"t":"news","d":{"s":1}}`, "other"},
		{`{"t":"feed","state":"down","since":1732181744000,"topics":"fx:*,crypto:*"}`, "other"},
		{`{"t":"stale","ts":1732181755000,"topics":["AAPL","MSFT"]}`, "other"},
		{`{"t":"heartbeat","ts":1732181744000,"feed":"up","tick":1732181743000,"lag":2}`, "heartbeat"},
		{`{"t":"update","d":[]}`, "update"},
		{" { \"d\" : [ { \"v\" : { \"ts\" : 7 , \"p\" : 1 } , \"n\" : 3 , \"s\" : \"A\" } ] , \"t\" : \"update\" } \n", "update A/3/7"},
		{`{"t":"update","d":[{"s":"A","n":1,"v":{"o":{"ts":1},"x":"\"ts\":2","ts":3}}]}`, "update A/1/3"},
		{`{"t":"update","d":[{"s":"A","n":18446744073709551615,"v":{"ts":1.5},"new":[]}]}`, "update A/18446744073709551615/0"},
		{`{"t":"update","d":[{"s":"A","n":1,"v":{}}],"more":[[{}]]}`, "update A/1/0"},
	} {
		if err := m.Scan([]byte(c.in)); err != nil || sketch(&m) != c.want {
			t.Errorf("%s\n got %s, %v\nwant %s", c.in, sketch(&m), err, c.want)
		}
	}
}

func TestScanFaults(t *testing.T) {
	deep := strings.Repeat("[", depthMax+1) + strings.Repeat("]", depthMax+1)
	for _, c := range []struct {
		in   string
		want Fault
	}{
		{``, ErrJSON}, {`[]`, ErrJSON}, {`{"t":"update","d":[]}x`, ErrJSON}, {`{"t":"hello",}`, ErrJSON},
		{`{"t":"hello" "v":1}`, ErrJSON}, {`{"t":"hello","v":}`, ErrJSON}, {`{"t":"hello","v":[}]}`, ErrJSON},
		{`{"t":"hel` + "\n" + `lo"}`, ErrJSON}, {`{"t":"hello","v":` + deep + `}`, ErrJSON}, {`{}x`, ErrJSON},
		{`{}`, ErrType}, {`{"ts":1}`, ErrType}, {`{"t":1}`, ErrType},
		{`{"t":"update"}`, ErrData}, {`{"t":"snapshot","ts":1}`, ErrData},
		{`{"t":"update","d":{}}`, ErrRow}, {`{"t":"update","d":[1]}`, ErrRow}, {`{"t":"update","d":[{}]}`, ErrRow},
		{`{"t":"update","d":[{"n":1,"v":1}]}`, ErrRow}, {`{"t":"update","d":[{"s":"A","v":1}]}`, ErrRow},
		{`{"t":"update","d":[{"s":"A","n":1}]}`, ErrRow}, {`{"t":"update","d":[{"s":1,"n":1,"v":1}]}`, ErrRow},
		{`{"t":"update","d":[{"s":"A","n":-1,"v":1}]}`, ErrRow}, {`{"t":"update","d":[{"s":"A","n":1.0,"v":1}]}`, ErrRow},
		{`{"t":"update","d":[{"s":"A","n":18446744073709551616,"v":1}]}`, ErrRow}, {`{"d":[{"s":"A"}],"t":"update"}`, ErrRow},
	} {
		var m Message
		if err := m.Scan([]byte(c.in)); err != c.want {
			t.Errorf("%s: %v, want %v", c.in, err, c.want)
		}
	}
}

func TestScanCutAtEveryByte(t *testing.T) {
	for _, in := range []string{hello, ack, problem, snapshot, update, heartbeat, bye, topics} {
		var m Message
		for cut := range len(in) {
			if err := m.Scan([]byte(in[:cut])); err != ErrJSON {
				t.Errorf("%s: %v, want %v", in[:cut], err, ErrJSON)
			}
		}
	}
}

// whole is an unsigned integer, 0 for anything else.
func whole(p []byte) uint64 {
	n, err := strconv.ParseUint(string(p), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ref is what encoding/json reads.
func ref(p []byte) (string, []Row) {
	var top map[string]json.RawMessage
	var name string
	if json.Unmarshal(p, &top) != nil || json.Unmarshal(top["t"], &name) != nil {
		return "", nil
	}
	if name != "snapshot" && name != "update" {
		return name, nil
	}
	var rows []map[string]json.RawMessage
	_ = json.Unmarshal(top["d"], &rows)
	var out []Row
	for _, r := range rows {
		var topic string
		var v map[string]json.RawMessage
		_ = json.Unmarshal(r["s"], &topic)
		_ = json.Unmarshal(r["v"], &v)
		out = append(out, Row{Topic: []byte(topic), N: whole(r["n"]), TS: int64(whole(v["ts"]))})
	}
	return name, out
}

// The scanner never panics, takes all JSON objects that are not nested too deep, and
// reads the same from them as encoding/json.
func FuzzScan(f *testing.F) {
	for _, in := range []string{hello, ack, problem, snapshot, update, heartbeat, bye, topics, `{"d":[{"s":"A","n":1,"v":[{}]}],"t":"update"}`} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		err := m.Scan(p)
		var top map[string]json.RawMessage
		if json.Unmarshal(p, &top) != nil || top == nil {
			return
		}
		if err == ErrJSON && strings.Count(string(p), "[")+strings.Count(string(p), "{") <= depthMax {
			t.Fatalf("refused good JSON: %q", p)
		}
		// Escapes, and what encoding/json repairs, are read differently by design.
		if err != nil || !utf8.Valid(p) || strings.Contains(string(p), `\`) {
			return
		}
		name, rows := ref(p)
		if typeOf([]byte(name)) != m.Type || len(rows) != len(m.Rows) {
			t.Fatalf("got %s, want %s with %d rows: %q", sketch(&m), name, len(rows), p)
		}
		for i, r := range rows {
			if got := m.Rows[i]; string(got.Topic) != string(r.Topic) || got.N != r.N || got.TS != r.TS {
				t.Fatalf("row %d: got %s/%d/%d, want %+v: %q", i, got.Topic, got.N, got.TS, r, p)
			}
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("\x81\x7e\x01\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := ParseHeader(p)
		if err == nil && (h.Length < 0 || h.Length > FrameMax || h.Size > len(p)) {
			t.Fatalf("%+v of % x", h, p)
		}
	})
}

func BenchmarkScanTenRows(b *testing.B) {
	rows := make([]string, 10)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"s":"SYM%04d","n":8812,"v":{"p":189.87,"ts":1732181723411}}`, i)
	}
	in := []byte(`{"t":"update","ts":1732181724000,"d":[` + strings.Join(rows, ",") + `]}`)
	var m Message
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if m.Scan(in) != nil || len(m.Rows) != 10 {
			b.Fatal("not scanned")
		}
	}
}
