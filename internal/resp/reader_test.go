// SPDX-License-Identifier: Apache-2.0

package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

const keep = 4096

// pieces gives a stream in pieces of a size.
type pieces struct {
	stream string
	size   int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.stream == "" {
		return 0, io.EOF
	}
	n := copy(b, p.stream[:min(p.size, len(p.stream))])
	p.stream = p.stream[n:]
	return n, nil
}

// events is what a reader makes of a stream, one line for each event, and how it ends.
func events(stream string, piece int) (list []string, err error) {
	r := NewReader(&pieces{stream, piece}, keep)
	for {
		e, err := r.Next()
		if err != nil {
			return list, err
		}
		list = append(list, e.String())
	}
}

func (e Event) String() string {
	return fmt.Sprintf("%s %q %q %d %d", e.Kind, e.Channel, e.Payload, e.Skipped, e.Count)
}

// push is an array of bulks.
func push(parts ...string) string {
	s := fmt.Sprintf("*%d\r\n", len(parts))
	for _, p := range parts {
		s += fmt.Sprintf("$%d\r\n%s\r\n", len(p), p)
	}
	return s
}

// confirm is the confirmation of a subscription.
func confirm(word, channel string, count int) string {
	return strings.Replace(push(word, channel), "*2", "*3", 1) + fmt.Sprintf(":%d\r\n", count)
}

func TestReader(t *testing.T) {
	long, longer := strings.Repeat("x", keep), strings.Repeat("x", keep+1)
	for _, test := range []struct{ stream, want string }{
		{push("message", "c", "v"), `message "c" "v" 0 0`},
		{push("message", "", ""), `message "" "" 0 0`},
		{push("message", "c", "\r\n*3\r\n"), `message "c" "\r\n*3\r\n" 0 0`},
		{push("smessage", "c", "v"), `smessage "c" "v" 0 0`},
		{push("pmessage", "c*", "c", "v"), `pmessage "c" "v" 0 0`},
		{push("message", "c", long), fmt.Sprintf(`message "c" %q 0 0`, long)},
		{push("message", "c", longer), `message "c" "" 4097 0`},
		{push("message", "c", strings.Repeat("x", 1<<20)), `message "c" "" 1048576 0`},
		{push("message", longer, "v"), `message "" "" 0 0`},
		{push("message", strings.Repeat("x", 1<<20), longer), `message "" "" 0 0`},
		{push("pmessage", "*", longer, "v"), `pmessage "" "" 0 0`},
		{push("pmessage", "*", "c", longer), `pmessage "c" "" 4097 0`},
		{confirm("subscribe", "c", 1), `subscribe "c" "" 0 1`},
		{confirm("unsubscribe", "c", 0), `unsubscribe "c" "" 0 0`},
		{confirm("psubscribe", "c*", 1), `psubscribe "c*" "" 0 1`},
		{confirm("punsubscribe", "c*", 0), `punsubscribe "c*" "" 0 0`},
		{confirm("ssubscribe", "c", 2147483647), `ssubscribe "c" "" 0 2147483647`},
		{confirm("sunsubscribe", "c", 0), `sunsubscribe "c" "" 0 0`},
		{push("pong", "17"), `pong "" "17" 0 0`},
		{"$2\r\n17\r\n", `pong "" "17" 0 0`},
		{"+PONG\r\n", `pong "" "PONG" 0 0`},
		{"+OK\r\n", `OK "" "OK" 0 0`},
		{"-NOPERM no\r\n", `error "" "NOPERM no" 0 0`},
		{"-" + strings.Repeat("x", LineMax-1) + "\r\n", fmt.Sprintf(`error "" %q 0 0`, strings.Repeat("x", LineMax-1))},
	} {
		// Twice, so that the second begins where the first ends.
		for _, piece := range []int{1, 2, 5, 1000, 1 << 20} {
			if piece < 1000 && len(test.stream) > 1<<17 {
				continue
			}
			got, err := events(test.stream+test.stream, piece)
			if err != io.EOF || len(got) != 2 || got[0] != test.want || got[1] != test.want {
				t.Errorf("%.60q in pieces of %d: %.200q, %v, want %.100q", test.stream, piece, got, err, test.want)
			}
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, stream := range []string{
		"HTTP/1.1 400 Bad Request\r\n", "\x15\x03\x01\x00\x02", "\r\n", "\x00",
		"*0\r\n", "*-1\r\n", "*1\r\n$4\r\npong\r\n", "*5\r\n", "*99999999999999999999\r\n", "*x\r\n", "*\r\n", "*00000000003\r\n",
		":1\r\n", "$-1\r\n", "$-2\r\n", "$2049\r\n", "$1000000000000\r\n", "$2\r\nxyz\r\n", "$1\r\nx\n\n", "$1\rx", "$1\n",
		"+QUEUED\r\n", "+\r\n", "+OK\n", "+OK\rx", "-ERR\n", "-" + strings.Repeat("x", LineMax+1),
		">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nv\r\n", "%1\r\n", "_\r\n", "~1\r\n", "#t\r\n",
		push("message", "c"), push("message", "c", "v", "w"), push("pmessage", "p", "c"), push("pong"), push("pong", "1", "2"),
		push("subscribe", "c"), push("subscribe", "c", "1"), push("invalidate", "c", "1"), push("Message", "c", "v"),
		push(strings.Repeat("m", wordMax+1), "c", "v"), "*3\r\n:1\r\n$1\r\nc\r\n$1\r\nv\r\n", "*3\r\n+message\r\n$1\r\nc\r\n$1\r\nv\r\n",
		"*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nv\r\n", "*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nv\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$-1\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n*1\r\n$1\r\nv\r\n", "*3\r\n$7\r\nmessage\r\n*1\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\ncc\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$536870913\r\n", "*3\r\n$7\r\nmessage\r\n$536870913\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5000\r\n" + strings.Repeat("x", 5002), "*3\r\n$7\r\nmessage\r\n$5000\r\n" + strings.Repeat("x", 5000) + "\r\n:1\r\n",
		confirm("subscribe", "c", -1), "*3\r\n$9\r\nsubscribe\r\n$-1\r\n:0\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n$1\r\n1\r\n",
		"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:2147483648\r\n", confirm("subscribe", strings.Repeat("c", NameMax+1), 1),
	} {
		for _, piece := range []int{1, 3, 1 << 20} {
			got, err := events("+OK\r\n"+stream, piece)
			var e *Error
			most := 1 // An event that is skipped is told before its end has come.
			if strings.Contains(stream, "$5000") {
				most = 2
			}
			if !errors.As(err, &e) || len(got) == 0 || len(got) > most {
				t.Errorf("%.60q in pieces of %d: %q, %v", stream, piece, got, err)
			} else if len(err.Error()) > 400 || !strings.Contains(err.Error(), `"`) {
				t.Errorf("%.60q: %s", stream, err)
			}
		}
	}
}

// What is cut off is no event, and no other error than that of the source.
func TestReaderWaitsForTheEnd(t *testing.T) {
	for _, stream := range []string{push("message", "c", "v"), push("pmessage", "*", "c", "v"), confirm("subscribe", "c", 1), push("pong", "1"), "$1\r\n1\r\n", "+OK\r\n", "-x\r\n"} {
		for end := range len(stream) {
			if got, err := events(stream[:end], 1); err != io.EOF || len(got) > 0 {
				t.Errorf("%q: %q, %v", stream[:end], got, err)
			}
		}
	}
}

// endless gives one piece of a stream again and again, as much of it as there is room for.
type endless struct {
	piece []byte
	at    int
}

func (s *endless) Read(b []byte) (n int, err error) {
	for n < len(b) {
		c := copy(b[n:], s.piece[s.at:])
		n, s.at = n+c, (s.at+c)%len(s.piece)
	}
	return n, nil
}

func TestReaderDoesNotAllocate(t *testing.T) {
	r := NewReader(&endless{piece: []byte(push("message", "channel:prices:AAPL", `{"p":1}`) + push("pmessage", "*", "c", strings.Repeat("x", 100_000)) + push("pong", "1"))}, keep)
	if n := testing.AllocsPerRun(10_000, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
}

// stuck gives nothing, and no error.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestReaderDoesNotSpin(t *testing.T) {
	if _, err := NewReader(stuck{}, keep).Next(); err != io.ErrNoProgress {
		t.Errorf("error = %v", err)
	}
}

func BenchmarkReader(b *testing.B) {
	r := NewReader(&endless{piece: []byte(push("message", "channel:prices:AAPL", `{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`))}, keep)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFollower(b *testing.B) {
	stream := bytes.Repeat([]byte("$53\r\n"+`{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`+"\r\n"), 500)
	var f Follower
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Follow(stream); err != nil {
			b.Fatal(err)
		}
	}
}
