// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"
	"testing"
)

func TestParseEvent(t *testing.T) {
	const update = "data: {\"t\":\"update\"}\nevent: update\nid: 7\n\n"
	for in, want := range map[string]Event{
		update:                             {Size: len(update), Data: []byte(`{"t":"update"}`), Name: []byte("update")},
		"event: x\ndata: : 1\n\ndata: 2\n": {Size: 20, Data: []byte(": 1"), Name: []byte("x")},
		":\n\n":                            {Size: 3, Comment: true},
		": a comment\n\n":                  {Size: 13, Comment: true},
		"retry: 1500\n\n":                  {Size: 13},
		"\nrest":                           {Size: 1},
	} {
		e, err := ParseEvent([]byte(in))
		if err != nil || e.Size != want.Size || string(e.Data) != string(want.Data) || string(e.Name) != string(want.Name) || e.Comment != want.Comment {
			t.Errorf("%q: %+v, %v; want %+v", in, e, err, want)
		}
	}
	for k := range update {
		if e, err := ParseEvent([]byte(update[:k])); err != ErrShort {
			t.Errorf("%q: %+v, %v", update[:k], e, err)
		}
	}
	for in, want := range map[string]Fault{
		"data: 1\ndata: 2\n\n":                     ErrLines,
		"data: {\"a\":\n1}\n\n":                    ErrField,
		"Data: 1\n\n":                              ErrField,
		"data: " + strings.Repeat("x", FrameMax+1): ErrLarge,
		strings.Repeat("id: 1\n", FrameMax/6+1):    ErrLarge,
	} {
		if e, err := ParseEvent([]byte(in)); err != want {
			t.Errorf("%.40q: %+v, %v; want %v", in, e.Size, err, want)
		}
	}
}

func TestParseStream(t *testing.T) {
	const good = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
	for in, want := range map[string]struct {
		size, status int
		err          error
	}{
		good + ":\n\n":            {len(good), 200, nil},
		good[:len(good)-1]:        {0, 0, nil},
		"HTTP/1.1 429 No\r\n\r\n": {19, 429, nil},
		"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n": {44, 200, ErrStream},
		"hello\r\n\r\n": {0, 0, ErrHead},
	} {
		size, status, err := ParseStream([]byte(in))
		if size != want.size || status != want.status || err != want.err {
			t.Errorf("%q: %d, %d, %v; want %+v", in, size, status, err, want)
		}
	}
}
