// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"strings"
	"testing"
	"time"
)

func TestStamp(t *testing.T) {
	for _, c := range []struct{ value, want, flaw string }{
		{`{"p":1}`, `{"p":1,"ver":7}`, ""},
		{` { "p" : 1 } `, `{ "p" : 1,"ver":7}`, ""},
		{`{}`, `{"ver":7}`, ""},
		{`{ }`, `{"ver":7}`, ""},
		{`{"p":{}}`, `{"p":{},"ver":7}`, ""},
		{`{"p":1,"ver":7}`, `{"p":1,"ver":7}`, ""},
		{`{"ver":"7","p":1}`, `{"ver":"7","p":1}`, ""},
		{`null`, `{"tombstone":true,"ver":7}`, ""},
		{" null\n", `{"tombstone":true,"ver":7}`, ""},
		{`{"tombstone":true,"ver":7}`, `{"tombstone":true,"ver":7}`, ""},
		{`{"p":1,"ver":8}`, "", "another version"},
		{`{"ver":7,"ver":7.5}`, "", "another version"},
		{`{"ver":{}}`, "", "is no version"},
		{`{"ver":"1.2.3"}`, "", "is no version"},
		{`[1]`, "", "only an object"},
		{`"ver"`, "", "only an object"},
		{`{"p":1`, "", "not one JSON value"},
		{``, "", "not one JSON value"},
		{`{"p":"` + strings.Repeat("x", ValueMax-9) + `"}`, "", "with its version"},
	} {
		got, err := Stamp([]byte(c.value), 7)
		switch {
		case c.flaw == "" && err != nil, c.flaw != "" && (err == nil || !strings.Contains(err.Error(), c.flaw)):
			t.Errorf("%s: %s, %v; want %s, %s", c.value, got, err, c.want, c.flaw)
		case string(got) != c.want:
			t.Errorf("%s: %s, want %s", c.value, got, c.want)
		}
		if c.flaw == "" {
			if v, f := InspectVersion(c.want, VersionMember); f != Flawless || v.Whole != 7 {
				t.Errorf("%s: version %v, %v", c.want, v, f)
			}
		}
	}
	for _, ver := range []int64{0, -1} {
		if _, err := Stamp([]byte(`{}`), ver); err == nil {
			t.Errorf("version %d was taken", ver)
		}
	}
}

func TestTombstone(t *testing.T) {
	for value, want := range map[string]bool{
		"null": true, " null": true, string(Tombstone(1)): true, string(Tombstone(1 << 62)): true,
		`{"tombstone":true}`: false, `{"tombstone":true,"ver":1,"p":2}`: false, `{"tombstone":true,"ver":"1"}`: false,
		`{"p":1}`: false, `"null"`: false, `[null]`: false, `0`: false,
	} {
		if got := IsTombstone(value); got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
}

// Versions rise when the host's clock stands, steps back, or is behind another publisher's.
func TestClock(t *testing.T) {
	var c Clock
	at := time.UnixMicro(1_732_181_723_411_000)
	first := c.Next(at)
	if first != at.UnixMicro() {
		t.Errorf("first = %d", first)
	}
	if got := c.Next(at.Add(-time.Hour)); got != first+1 {
		t.Errorf("after a step back = %d, want %d", got, first+1)
	}
	c.Saw(first + 100)
	c.Saw(first + 50)
	if got := c.Next(at); got != first+101 {
		t.Errorf("after another's = %d, want %d", got, first+101)
	}
}
