// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// FuzzCommand: no panic; what is accepted, encoding/json reads in the same way; whatever
// the answer, it is a valid message.
func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		`{"op":"subscribe","topics":["AAPL","MSFT"],"id":1}`, `{"op":"unsubscribe","topics":["\u0041\ud83d\ude00é\n"],"id":"a\"b"}`,
		`{"op":"list","id":3}`, `{"op":"interval","ms":1000,"id":4}`, `{"op":"auth","token":"a.b.c","id":5}`, `{"op":"ping","id":-1.5e3}`,
		`{"op":"ping","x":{"y":[1,true,null,"}"]},"z":[[],{}]}`, `{"topics":["1","2","3","4","5"],"op":"subscribe","id":"x"}`,
		`{"op":"ping","\u006fp":"list"}`, `{"id":null}`, `{"op":"ping"} x`, `[[[[[[[[[`, "{\"op\":\"\xff\"}", `{"op":"\ud800"}`, ``, ` { } `,
		`ping`, `"ping"`, "ping\n", `{"op":"interval","ms":-0}`, `{"op":"interval","ms":1e3,"id":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	reused := NewParser(testTopicsMax)
	f.Fuzz(func(t *testing.T, msg []byte) {
		in := bytes.Clone(msg)
		cmd, err := reused.Parse(in)
		got := outcome(cmd, err)
		if !bytes.Equal(in, msg) {
			t.Fatal("the message is overwritten")
		}
		clear(in)
		if again := outcome(cmd, err); again != got {
			t.Fatalf("%s became %s as the message was overwritten", got, again)
		}
		if fresh := outcome(NewParser(testTopicsMax).Parse(msg)); fresh != got {
			t.Fatalf("a new parser says %s, a used one %s", fresh, got)
		}
		if err != nil {
			checkCommandError(t, string(msg), err)
			payloadText(t, AppendError(nil, err))
			return
		}
		if pong := AppendPong(nil, cmd, 1); cmd.Word != NoWord {
			if word := strings.Trim(string(msg), " \t\r\n"); strings.Replace(word, "i", "o", 1) != string(pong) {
				t.Fatalf("%q is answered with %q", msg, pong)
			}
			return
		} else {
			payloadText(t, pong)
		}
		checkAccepted(t, msg, cmd)
		payloadText(t, (&Ack{ID: cmd.ID, Op: cmd.Op, Topics: len(cmd.Topics), MS: cmd.MS}).Append(nil))
	})
}

// checkAccepted compares a command with what encoding/json makes of its message.
func checkAccepted(t *testing.T, msg []byte, cmd *Command) {
	t.Helper()
	var keys map[string]json.RawMessage // A struct would match keys in any case.
	if err := json.Unmarshal(msg, &keys); err != nil {
		t.Fatalf("accepted, but encoding/json says %v", err)
	}
	member := func(name string, v any) {
		t.Helper()
		if raw, ok := keys[name]; ok {
			if err := json.Unmarshal(raw, v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	var op, token string
	var topics []string
	var ms int
	member("op", &op)
	member("topics", &topics)
	member("ms", &ms)
	member("token", &token)
	if op != cmd.Op.String() || ms != cmd.MS || token != string(cmd.Token) || !bytes.Equal(keys["id"], cmd.ID) {
		t.Fatalf("read as %s %d %q %s, encoding/json reads %s %d %q %s", cmd.Op, cmd.MS, cmd.Token, cmd.ID, op, ms, token, keys["id"])
	}
	if !slices.EqualFunc(topics, cmd.Topics, func(a string, b []byte) bool { return a == string(b) }) {
		t.Fatalf("topics %q, encoding/json reads %q", cmd.Topics, topics)
	}
	if len(cmd.Topics) > testTopicsMax || len(cmd.ID) > idMax+2 || cmd.ID != nil && !json.Valid(cmd.ID) {
		t.Fatalf("over the limits: %+v", cmd)
	}
}
