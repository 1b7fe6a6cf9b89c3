// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

const testTopicsMax = 4

// outcome is what a message comes to, as text: op, id, topics, ms and token of a
// command, or code and id of an error.
func outcome(cmd *Command, err *CommandError) string {
	if err != nil {
		return strings.TrimRight(fmt.Sprintf("%d %s", err.Code, err.ID), " ")
	}
	out := cmd.Op.String()
	if cmd.ID != nil {
		out += " id=" + string(cmd.ID)
	}
	for _, topic := range cmd.Topics {
		out += fmt.Sprintf(" %q", topic)
	}
	if cmd.MS != 0 {
		out += fmt.Sprintf(" ms=%d", cmd.MS)
	}
	if cmd.Token != nil {
		out += fmt.Sprintf(" token=%q", cmd.Token)
	}
	if cmd.HasSince {
		out += fmt.Sprintf(" since=%q", cmd.Since)
	}
	out += map[Word]string{BareWord: " word", QuotedWord: " quoted"}[cmd.Word]
	return out
}

// wantCommand parses msg with p and checks what holds for all messages. "400" stands
// for an error without an id.
func wantCommand(t testing.TB, p *Parser, msg, want string) {
	t.Helper()
	in := []byte(msg)
	cmd, err := p.Parse(in)
	if got := outcome(cmd, err); got != want {
		t.Errorf("%.200q: got %s (%+v), want %s", msg, got, err, want)
	}
	if string(in) != msg {
		t.Errorf("%.200q: the message is overwritten: %.200q", msg, in)
	}
	if err != nil {
		checkCommandError(t, msg, err)
	}
}

func checkCommandError(t testing.TB, msg string, err *CommandError) {
	t.Helper()
	if err.Reason == "" || len(err.Reason) > 400 || !utf8.ValidString(err.Reason) {
		t.Errorf("%.200q: reason of %d bytes: %.500q", msg, len(err.Reason), err.Reason)
	}
	if len(err.ID) > idMax+2 || err.ID != nil && !json.Valid(err.ID) {
		t.Errorf("%.200q: error with id %q", msg, err.ID)
	}
}

func TestCommands(t *testing.T) {
	x63, x64 := strings.Repeat("x", 63), strings.Repeat("x", 64)
	tests := []struct{ msg, want string }{
		// The examples of the protocol.
		{`{"op":"subscribe","topics":["AAPL","MSFT"],"id":1}`, `subscribe id=1 "AAPL" "MSFT"`},
		{`{"op":"subscribe","topics":["AAPL","MSFT"],"since":"gQ8x…","id":7}`, `subscribe id=7 "AAPL" "MSFT" since="gQ8x…"`},
		{`{"op":"subscribe","since":"","topics":["A"]}`, `subscribe "A" since=""`},
		{`{"op":"subscribe","topics":["A"],"since":null}`, `400`},
		{`{"op":"subscribe","topics":["A"],"since":1}`, `400`},
		{`{"op":"unsubscribe","topics":["MSFT"],"id":2}`, `unsubscribe id=2 "MSFT"`},
		{`{"op":"list","id":3}`, `list id=3`},
		{`{"op":"interval","ms":1000,"id":4}`, `interval id=4 ms=1000`},
		{`{"op":"auth","token":"a.b.c","id":5}`, `auth id=5 token="a.b.c"`},
		{`{"op":"ping","id":6}`, `ping id=6`},
		// What keeps connections alive in many libraries, as it is or as JSON. Anything else than
		// this word is malformed.
		{`ping`, `ping word`},
		{`"ping"`, `ping quoted`},
		{" ping\r\n", `ping word`},
		{"\t\"ping\"\n", `ping quoted`},
		{`Ping`, `400`},
		{`PING`, `400`},
		{`pong`, `400`},
		{`'ping'`, `400`},
		{`ping ping`, `400`},
		{`ping"`, `400`},
		{`"ping`, `400`},
		{`"p\u0069ng"`, `400`},
		{"\u00a0ping", `400`},
		{"ping\x00", `400`},
		{"ping" + strings.Repeat(" ", 13), `400`}, // Longer than any word.
		// Without what is optional, with blanks, in another order.
		{`{"op":"ping"}`, `ping`},
		{" {\t\"op\"\r\n:\"ping\" } \n", `ping`},
		{`{"id":1,"topics":["A"],"op":"subscribe"}`, `subscribe id=1 "A"`},
		{`{"op":"subscribe","topics":[]}`, `subscribe`},
		// Keys of other ops and unknown ones are no concern.
		{`{"op":"ping","topics":["A"],"ms":500,"token":"t"}`, `ping "A" ms=500 token="t"`},
		{`{"op":"ping","x":null,"y":{"op":"list","id":[1,{"a":"}"}]},"z":[[],{}],"id":7}`, `ping id=7`},
		{`{"Op":"list","op":"ping","":1,"ID":2}`, `ping`},
		{`{"op":"ping","x":1e400,"y":-0.0e-9}`, `ping`},
		// Escapes are undone, except in an id.
		{`{"\u006fp":"p\u0069ng","\u0069d":"\u0041\n\/"}`, `ping id="\u0041\n\/"`},
		{`{"op":"subscribe","topics":["\u0041APL","\"\\\/\b\f\n\r\t","\ud83d\ude00","é",""]}`, `413`},
		{`{"op":"subscribe","topics":["\u0041APL","\"\\\/\b\f\n\r\t","\ud83d\ude00",""]}`, `subscribe "AAPL" "\"\\/\b\f\n\r\t" "😀" ""`},
		{`{"op":"auth","token":"\u0000\""}`, `auth token="\x00\""`},
		{`{"op":"auth","token":""}`, `auth token=""`},

		// Ids.
		{`{"op":"ping","id":0}`, `ping id=0`},
		{`{"op":"ping","id":-1.50e+3}`, `ping id=-1.50e+3`},
		{`{"op":"ping","id":""}`, `ping id=""`},
		{`{"op":"ping","id":"` + x64 + `"}`, `ping id="` + x64 + `"`},
		{`{"op":"ping","id":"` + x64 + `x"}`, `400`},
		{`{"op":"ping","id":1` + strings.Repeat("0", 63) + `}`, `ping id=1` + strings.Repeat("0", 63)},
		{`{"op":"ping","id":1` + strings.Repeat("0", 64) + `}`, `400`},
		{`{"op":"ping","id":"` + x63 + `é"}`, `400`},
		{`{"op":"ping","id":null}`, `400`},
		{`{"op":"ping","id":true}`, `400`},
		{`{"op":"ping","id":{}}`, `400`},
		{`{"op":"ping","id":[1]}`, `400`},
		{`{"op":"ping","id":01}`, `400 0`}, // A zero and something that should not follow it.
		{`{"op":"ping","id":1 2}`, `400 1`},
		{`{"op":"ping","id":+1}`, `400`},
		{`{"op":"ping","id":NaN}`, `400`},

		// Topics.
		{`{"op":"subscribe","topics":["1","2","3","4"],"id":1}`, `subscribe id=1 "1" "2" "3" "4"`},
		{`{"op":"subscribe","topics":["1","2","3","4","5"],"id":1}`, `413 1`},
		{`{"op":"subscribe","topics":["1","2","3","4","5",6],"id":1}`, `413 1`},
		{`{"op":"subscribe","topics":["A","A"]}`, `subscribe "A" "A"`},
		{`{"op":"subscribe","topics":[1],"id":1}`, `400 1`},
		{`{"op":"subscribe","topics":["A",null]}`, `400`},
		{`{"op":"subscribe","topics":[["A"]]}`, `400`},
		{`{"op":"subscribe","topics":"A","id":1}`, `400 1`},
		{`{"op":"subscribe","topics":{},"id":1}`, `400 1`},
		{`{"op":"subscribe","topics":null,"id":1}`, `400 1`},
		{`{"op":"subscribe","id":1}`, `400 1`},
		{`{"op":"unsubscribe","id":1}`, `400 1`},

		// Windows.
		{`{"op":"interval","ms":100}`, `interval ms=100`},
		{`{"op":"interval","ms":60000}`, `interval ms=60000`},
		{`{"op":"interval","ms":99,"id":1}`, `400 1`},
		{`{"op":"interval","ms":60001,"id":1}`, `400 1`},
		{`{"op":"interval","ms":0}`, `400`},
		{`{"op":"interval","ms":-0}`, `400`},
		{`{"op":"interval","ms":-500}`, `400`},
		{`{"op":"interval","ms":500.0}`, `400`},
		{`{"op":"interval","ms":500.5}`, `400`},
		{`{"op":"interval","ms":1e3}`, `400`},
		{`{"op":"interval","ms":"500"}`, `400`},
		{`{"op":"interval","ms":null}`, `400`},
		{`{"op":"interval","ms":[500]}`, `400`},
		{`{"op":"interval","ms":0500}`, `400`},
		{`{"op":"interval","ms":18446744073709552116}`, `400`}, // 500 modulo 2^64.
		{`{"op":"interval","ms":4294967796}`, `400`},           // 500 modulo 2^32.
		{`{"op":"interval","ms":1e999999999}`, `400`},
		{`{"op":"interval","ms":` + strings.Repeat("9", 5000) + `}`, `400`},
		{`{"op":"interval","id":1}`, `400 1`},

		// Tokens.
		{`{"op":"auth","id":1}`, `400 1`},
		{`{"op":"auth","token":1,"id":1}`, `400 1`},
		{`{"op":"auth","token":null,"id":1}`, `400 1`},

		// Ops.
		{`{"op":"subscrbe","id":9}`, `400 9`},
		{`{"op":"","id":9}`, `400 9`},
		{`{"op":"PING","id":9}`, `400 9`},
		{`{"op":"ping ","id":9}`, `400 9`},
		{`{"op":1,"id":9}`, `400 9`},
		{`{"op":null,"id":9}`, `400 9`},
		{`{"op":["ping"],"id":9}`, `400 9`},
		{`{"id":9}`, `400 9`},
		{`{}`, `400`},

		// The id comes back wherever the error is.
		{`{"topics":1,"ms":"x","op":2,"id":"a"}`, `400 "a"`},
		{`{"id":"a","op":"ping"`, `400 "a"`},
		{`{"id":"a","op":"ping"} x`, `400 "a"`},
		{`{"id":"a","op":"ping","op":"ping"}`, `400 "a"`},
		{`{"id":"a","id":"b","op":"ping"}`, `400 "a"`},
		{`{"id":"a","topics":["1","2","3","4","5"],"op":"subscribe"}`, `413 "a"`},

		// Keys that come twice, at any depth and however they are written.
		{`{"op":"ping","op":"ping"}`, `400`},
		{`{"op":"ping","\u006fp":"list"}`, `400`},
		{`{"op":"ping","x":1,"x":2}`, `400`},
		{`{"op":"ping","x":{"a":1,"a":2}}`, `400`},
		{`{"op":"ping","x":{"a":1},"y":{"a":2}}`, `ping`},
	}
	p := NewParser(testTopicsMax)
	for _, tt := range tests {
		wantCommand(t, p, tt.msg, tt.want)
		wantCommand(t, NewParser(testTopicsMax), tt.msg, tt.want)
	}
}

func TestMalformedJSON(t *testing.T) {
	const ok = `{"op":"ping"}`
	msgs := []string{
		"", " ", "\x00", "x", "pin", `"pin"`, "1", "null", "true", "[]", "[" + ok + "]", "{", "}", "{]", "{}}",
		ok + ok, ok + "\n" + ok, ok + ",", ok + "x", ok + "\x00", ok + "]", ok + " {", "\xef\xbb\xbf" + ok, "\u00a0" + ok,
		`{'op':'ping'}`, `{op:"ping"}`, `{"op":"ping",}`, `{,"op":"ping"}`, `{"op""ping"}`, `{"op":}`, `{"op":"ping" "id":1}`,
		`{"op":"ping","x":1 2}`, `{"op":"ping"/**/}`, `{"op":"ping","x":tru}`, `{"op":"ping","x":.5}`, `{"op":"ping","x":1.}`,
		`{"op":"ping","x":[1,]}`, `{"op":"ping","x":[1 2]}`, `{"op":"ping","x":0x10}`, `{"op":"ping","x":undefined}`,
		"{\"op\":\"pi\nng\"}", "{\"op\":\"ping\x00\"}", `{"op":"\x70ing"}`, `{"op":"\u12"}`, `{1:2}`, `{null:1}`, `{"a":{"b":}}`,
		`{"op":"ping","x":"\ud800"}`, `{"op":"ping","x":"\udc00\ud800"}`, "{\"op\":\"ping\",\"x\":\"\xff\"}", "{\"\xff\":1,\"op\":\"ping\"}",
		`{"op":"subscribe","topics":["A" "B"]}`, `{"op":"subscribe","topics":["A",]}`, `{"op":"subscribe","topics":["A"}`,
		`{"op":"subscribe","topics":["A",,"B"]}`, `{"op":"subscribe","topics":[`, `{"op":"subscribe","topics":["\ud800"]}`,
	}
	p := NewParser(testTopicsMax)
	for _, msg := range msgs {
		wantCommand(t, p, msg, "400")
		wantCommand(t, p, ok, "ping") // The parser is none the worse for it.
	}
}

func TestTruncatedCommands(t *testing.T) {
	p := NewParser(testTopicsMax)
	for _, msg := range []string{
		`{"op":"subscribe","topics":["AAPL","\u00e9\ud83d\ude00é"],"x":{"y":[1,true,null,-1.5e3]},"id":"a\"b"}`,
		`{"op":"interval","ms":1000,"id":4}`,
		`{"op":"auth","token":"a.b.c","id":5}`,
	} {
		if _, err := p.Parse([]byte(msg)); err != nil {
			t.Fatal(err)
		}
		for n := range len(msg) {
			cmd, err := p.Parse([]byte(msg[:n]))
			if err == nil || err.Code != ErrMalformed {
				t.Fatalf("%d bytes of %s: %+v, %+v", n, msg, cmd, err)
			}
			checkCommandError(t, msg[:n], err)
			// One byte that is wrong is no better than one that is missing.
			if cmd, err := p.Parse([]byte(msg[:n] + "\x01" + msg[n+1:])); err == nil {
				t.Fatalf("%s with byte %d replaced: %+v", msg, n, cmd)
			}
		}
	}
}

// A command has so many members, nested ones included; what is in a string is none.
func TestMembers(t *testing.T) {
	p := NewParser(testTopicsMax)
	for _, form := range []string{`{"op":"ping"%s}`, `{"op":"ping","x":{"a":1%s}}`, `{"op":"ping","x":[{"a":1}%s]}`} {
		for n, want := range map[int]string{membersMax: "ping", membersMax + 1: "400"} {
			var more strings.Builder
			for i := range n - strings.Count(form, ":") {
				if strings.Contains(form, "]") {
					fmt.Fprintf(&more, `,{"k:%d":0}`, i)
				} else {
					fmt.Fprintf(&more, `,"k:%d":0`, i)
				}
			}
			wantCommand(t, p, fmt.Sprintf(form, more.String()), want)
		}
	}
}

func TestNesting(t *testing.T) {
	p := NewParser(testTopicsMax)
	nest := func(depth int, open, inner, shut string) string { // The command itself is a level.
		return `{"op":"ping","x":` + strings.Repeat(open, depth-1) + inner + strings.Repeat(shut, depth-1) + `}`
	}
	for _, inner := range []string{"1", `"]]{{"`, `"\"[[[[[[[[["`} {
		wantCommand(t, p, nest(8, "[", inner, "]"), "ping")
		wantCommand(t, p, nest(9, "[", inner, "]"), "400")
		wantCommand(t, p, nest(8, `{"a":`, inner, "}"), "ping")
		wantCommand(t, p, nest(9, `{"a":`, inner, "}"), "400")
	}
	wantCommand(t, p, `{"op":"ping","x":[[],[],[],[],[],[],[],[],[],[]]}`, "ping")
	wantCommand(t, p, `{"op":"ping","x":"[[[[[[[[[[","y":"\\","z":"{{{{{{{{{{\\\""}`, "ping")
	for _, msg := range []string{
		strings.Repeat("[", 100000), strings.Repeat(`{"a":`, 20000), nest(20000, "[", "", "]"),
		`{"id":1,"op":"subscribe","topics":` + strings.Repeat("[", 9),
	} {
		_, err := p.Parse([]byte(msg))
		if err == nil || err.Code != ErrMalformed {
			t.Errorf("%.40q: %+v", msg, err)
		}
	}
}

// A command's parts are copies: the message may be overwritten, as a socket's buffer
// is. They stay until the next call, whatever its result.
func TestCommandOutlivesItsMessage(t *testing.T) {
	p := NewParser(testTopicsMax)
	const msg = `{"op":"subscribe","topics":["AAPL","M\u0053FT"],"token":"t0k","id":"seven"}`
	const want = `subscribe id="seven" "AAPL" "MSFT" token="t0k"`
	in := []byte(msg)
	cmd, err := p.Parse(in)
	for i := range in {
		in[i] = '#'
	}
	if got := outcome(cmd, err); got != want {
		t.Errorf("after the message was overwritten: %s", got)
	}
	// Whoever appends to one topic does not write into the next. By now the parser has
	// room for both in one piece.
	cmd, err = p.Parse([]byte(msg))
	_ = append(cmd.Topics[0], "overwritten"...)
	if got := outcome(cmd, err); got != want {
		t.Errorf("after an append to a topic: %s", got)
	}

	in = []byte(`{"id":"eight","op":"nonsense"}`)
	_, err = p.Parse(in)
	clear(in)
	if got := outcome(nil, err); got != `400 "eight"` {
		t.Errorf("after the message of an error was overwritten: %s", got)
	}
	// Nothing of one command is left in the next.
	wantCommand(t, p, `{"op":"ping"}`, "ping")
	wantCommand(t, p, `{"op":"auth"}`, "400")
	wantCommand(t, p, `{"op":"subscribe"}`, "400")
}

// The parts of a command that fills the message stay whole while the parser's buffer
// grows under them.
func TestLongestCommand(t *testing.T) {
	const n = 256
	var topics [][]byte
	var list []string
	for i := range n {
		name := fmt.Sprintf("%064d", i)
		topics = append(topics, []byte(name))
		list = append(list, `"`+name+`"`)
	}
	msg := `{"op":"unsubscribe","id":"` + strings.Repeat("i", idMax) + `","topics":[` + strings.Join(list, ", ") + `]}`
	if len(msg) > MessageMax(n) {
		t.Errorf("the longest command has %d bytes, the limit is %d", len(msg), MessageMax(n))
	}
	cmd, err := NewParser(n).Parse([]byte(msg))
	if err != nil || len(cmd.Topics) != n {
		t.Fatal(err)
	}
	for i := range topics {
		if !bytes.Equal(cmd.Topics[i], topics[i]) {
			t.Fatalf("topic %d is %q", i, cmd.Topics[i])
		}
	}
	if _, err := NewParser(n - 1).Parse([]byte(msg)); err == nil || err.Code != ErrTooManyTopics || len(err.ID) != idMax+2 {
		t.Errorf("with room for %d topics: %+v", n-1, err)
	}
	if MessageMax(256) != 20<<10 {
		t.Errorf("MessageMax(256) is %d", MessageMax(256))
	}
}

func TestOpNames(t *testing.T) {
	for name, op := range opNames {
		if op.String() != name {
			t.Errorf("%s is %s", name, op)
		}
	}
	if got := Op(0).String(); got != "op 0" {
		t.Errorf("no op is %q", got)
	}
	for ms, want := range map[int]bool{0: false, 99: false, 100: true, 60000: true, 60001: false, -100: false} {
		if ValidInterval(ms) != want {
			t.Errorf("%d ms", ms)
		}
	}
}
