// SPDX-License-Identifier: Apache-2.0

package sse

import (
	"strings"
	"testing"
)

func TestEvents(t *testing.T) {
	const long = "{\"t\":\"update\",\"ts\":5,\"d\":[{\"s\":\"A\",\"n\":1,\"v\":{\r\n\t\"p\":\n1}}]}"
	for _, c := range []struct {
		payload string
		plain   bool
		want    string
	}{
		{`{"t":"hello","v":1}`, false, "data: {\"t\":\"hello\",\"v\":1}\nevent: hello\n\n"},
		{`{"t":"hello","v":1}`, true, "data: {\"t\":\"hello\",\"v\":1}\n\n"},
		{long, false, "data: {\"t\":\"update\",\"ts\":5,\"d\":[{\"s\":\"A\",\"n\":1,\"v\":{  \t\"p\": 1}}]}\nevent: update\n\n"},
		{"\n\r\n\r", true, "data:     \n\n"},
		{"{}", false, "data: {}\nevent: \n\n"},
	} {
		before := "data: {}\n\n"
		dst := []byte(before)
		dst = End(append(Begin(dst), c.payload...), len(before), c.plain)
		if got, ok := strings.CutPrefix(string(dst), before); !ok || got != c.want {
			t.Errorf("%q, plain %v: %q, want %q", c.payload, c.plain, dst, c.want)
		}
	}
}

// What stands in the stream beside events dispatches none.
func TestLines(t *testing.T) {
	if got := string(AppendRetry(AppendComment(nil), 1500)); got != ":\n\nretry: 1500\n\n" {
		t.Errorf("%q", got)
	}
}

func TestHead(t *testing.T) {
	head := string(AppendHead(nil, "Vary: Origin\r\n"))
	for _, want := range []string{
		"HTTP/1.1 200 OK\r\n", "\r\nContent-Type: text/event-stream\r\n", "\r\nCache-Control: no-store\r\n",
		"\r\nX-Accel-Buffering: no\r\n", "\r\nConnection: close\r\n", "\r\nVary: Origin\r\n\r\n",
	} {
		if !strings.Contains(head, want) {
			t.Errorf("%q is missing in %q", want, head)
		}
	}
	if strings.Contains(head, "Content-Length") || strings.Contains(head, "Transfer-Encoding") {
		t.Errorf("the body has a length: %q", head)
	}
}

// A value that the edge does not know may hold anything that JSON may.
func FuzzEnd(f *testing.F) {
	f.Add(`{"t":"update","d":[]}`)
	f.Add("{\"t\":\"\r\n")
	f.Fuzz(func(t *testing.T, payload string) {
		dst := End(append(Begin(nil), payload...), 0, false)
		lines := strings.FieldsFunc(string(dst), func(r rune) bool { return r == '\n' || r == '\r' })
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "data: ") || !strings.HasPrefix(lines[1], "event: ") || !strings.HasSuffix(string(dst), "\n\n") {
			t.Fatalf("%q became %q", payload, dst)
		}
	})
}
