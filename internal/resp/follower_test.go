// SPDX-License-Identifier: Apache-2.0

package resp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// follow follows a stream in pieces of a size. It returns how many bytes pass, and why no more
// do.
func follow(f *Follower, stream string, piece int) (passed int, err error) {
	for len(stream) > 0 {
		b := []byte(stream[:min(piece, len(stream))])
		n, err := f.Follow(b)
		passed += n
		if err != nil {
			return passed, err
		}
		stream = stream[len(b):]
	}
	return passed, nil
}

// complete reports whether a reply is over.
func (f *Follower) complete() bool { return f.at == atKind && f.depth == 0 }

func bulkOf(n int) string { return fmt.Sprintf("$%d\r\n%s\r\n", n, strings.Repeat("x", n)) }

func TestFollowerLetsPass(t *testing.T) {
	deep := strings.Repeat("*1\r\n", DepthMax)
	for name, stream := range map[string]string{
		"simple strings":             "+OK\r\n+\r\n",
		"errors":                     "-ERR no\r\n-\r\n",
		"integers":                   ":0\r\n:-1\r\n:9223372036854775807\r\n:-9223372036854775808\r\n",
		"bulks":                      "$0\r\n\r\n$2\r\n\r\n\r\n$-1\r\n" + bulkOf(BulkMax),
		"arrays":                     "*0\r\n*-1\r\n*2\r\n*1\r\n:1\r\n*0\r\n+x\r\n",
		"the longest line":           "+" + strings.Repeat("x", LineMax-1) + "\r\n",
		"the longest array":          fmt.Sprintf("*%d\r\n", ArrayMax) + strings.Repeat(":1\r\n", ArrayMax),
		"the deepest arrays":         deep + ":1\r\n" + deep + "+x\r\n",
		"the most elements, twice":   strings.Repeat(elements(ElementsMax), 2),
		"the longest reply, twice":   strings.Repeat(fmt.Sprintf("*%d\r\n", ReplyMax/BulkMax-1)+strings.Repeat(bulkOf(BulkMax), ReplyMax/BulkMax-1), 2),
		"an answer to HELLO":         "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*1\r\n*2\r\n$4\r\nname\r\n$2\r\nbf\r\n",
		"CR and LF inside of a bulk": "$5\r\n\r\n\n\r$\r\n",
	} {
		for _, piece := range []int{1, 7, 4096, len(stream)} {
			if piece < 4096 && len(stream) > 1<<18 {
				continue
			}
			var f Follower
			if n, err := follow(&f, stream, piece); err != nil || !f.complete() {
				t.Errorf("%s, in pieces of %d: %d of %d bytes, %v", name, piece, n, len(stream), err)
			}
		}
	}
}

// elements is a reply of n elements, in arrays of arrays.
func elements(n int) string {
	outer := n / ArrayMax
	inner := (n - outer) / outer
	return fmt.Sprintf("*%d\r\n", outer) + strings.Repeat(fmt.Sprintf("*%d\r\n", inner)+strings.Repeat("*0\r\n", inner), outer)
}

// The bytes before the fault pass, and the fault is found where it is, however the stream
// comes.
func TestFollowerStops(t *testing.T) {
	for _, test := range []struct{ good, bad, what string }{
		{"", "HTTP/1.1 400 Bad Request\r\n\r\n", "unknown type"},
		{"", "\x15\x03\x01\x00\x02", "unknown type"},
		{"+OK\r\n", "\r\n", "unknown type"},
		{"", "%1\r\n+a\r\n+b\r\n", "unknown type"},
		{"*2\r\n", "_\r\n", "unknown type"},
		{"$-", "2\r\n", "negative length"},
		{"*-", "2\r\n", "negative length"},
		{"$-0", "\r\n", "negative length"},
		{"$-", "2147483648\r\n", "negative length"},
		{fmt.Sprintf("$%d", BulkMax/10), "7\r\n", "a bulk of more"},
		{"$107374", "1824\r\n", "a bulk of more"},
		{"$184467", "44073709551617\r\n", "a bulk of more"},
		{"$0000000001", "1\r\n", "more than 10 digits"},
		{fmt.Sprintf("*%d", ArrayMax/10), "5\r\n", "an array of more"},
		{"*", "x\r\n", "a number that is none"},
		{"*", "\r\n", "a number that is none"},
		{"$-", "\r\n", "a number that is none"},
		{"$1", "-\r\n", "a number that is none"},
		{":", "+1\r\n", "a number that is none"},
		{":1", " 2\r\n", "a number that is none"},
		{":9223372036854775800", "7\r\n", "more than 64 bits"},
		{":1\r", "\r", "without LF"},
		{":1", "\n", "a number that is none"},
		{"+OK", "\n", "without CR"},
		{"+OK\r", "x", "without LF"},
		{"$1\r", "x", "without LF"},
		{"$1\r\nx", "y", "longer than its length"},
		{"$1\r\nx\r", "\r", "longer than its length"},
		{"$0\r\n", "x", "longer than its length"},
		{"-" + strings.Repeat("x", LineMax-1), "x", "a line of more"},
		{strings.Repeat("*1\r\n", DepthMax), "*1\r\n", "deep"},
		{fmt.Sprintf("*%d\r\n", ReplyMax/BulkMax+1) + strings.Repeat(bulkOf(BulkMax), ReplyMax/BulkMax-1) + "$1048576"[:7], "6\r\n", "a reply of more"},
	} {
		stream := test.good + test.bad
		for _, piece := range []int{1, 3, 4096, len(stream)} {
			if piece < 4096 && len(stream) > 1<<18 {
				continue
			}
			var f Follower
			n, err := follow(&f, stream, piece)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.What, test.what) || n != len(test.good) {
				t.Errorf("%.40q + %q in pieces of %d: %d bytes pass, want %d; %v, want %s", test.good, test.bad, piece, n, len(test.good), err, test.what)
			}
			if err != nil && len(err.Error()) > 400 {
				t.Errorf("%.40q: an error of %d bytes", test.good, len(err.Error()))
			}
		}
	}
}

// So many elements of so many bytes each may come that no single one is too much.
func TestFollowerAddsUp(t *testing.T) {
	for what, stream := range map[string]string{
		"a reply of more than 524288 elements": elements(ElementsMax + 2*ArrayMax),
		"a reply of more than 33554432 bytes":  fmt.Sprintf("*%d\r\n", ArrayMax) + strings.Repeat("+"+strings.Repeat("x", LineMax-1)+"\r\n", ArrayMax),
	} {
		var f Follower
		if n, err := follow(&f, stream, 4096); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%d of %d bytes, %v, want %s", n, len(stream), err, what)
		}
	}
}

// An error shows the line that is at fault, from its beginning, and no other.
func TestFollowerShowsTheLine(t *testing.T) {
	for _, piece := range []int{1, 2, 100} {
		var f Follower
		_, err := follow(&f, "+secret\r\n$99999999\r\nmore", piece)
		if err == nil || !strings.Contains(err.Error(), `: "$9999999`) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "more\"") {
			t.Errorf("in pieces of %d: %v", piece, err)
		}
	}
}

func TestFollowerOfRESP3(t *testing.T) {
	stream := "%2\r\n+a\r\n:1\r\n+b\r\n_\r\n~1\r\n#t\r\n>2\r\n,1.5\r\n(12345678901234567890\r\n=5\r\ntxt:x\r\n!3\r\nERR\r\n%0\r\n"
	f := Follower{Newer: true}
	if n, err := follow(&f, stream, 3); err != nil || !f.complete() {
		t.Errorf("%d of %d bytes, %v", n, len(stream), err)
	}
	f = Follower{Newer: true}
	if _, err := follow(&f, "%1\r\n+name\r\n", 100); err != nil || f.complete() {
		t.Errorf("a map without its value is complete, %v", err)
	}
	for _, stream := range []string{"|1\r\n", "%-2\r\n", "%8193\r\n", "=1048577\r\n", "*?\r\n", "$?\r\n"} {
		f := Follower{Newer: true}
		if _, err := follow(&f, stream, 100); err == nil {
			t.Errorf("%q passes", stream)
		}
	}
}

func TestFollowerDoesNotAllocate(t *testing.T) {
	stream := []byte("*3\r\n$7\r\nmessage\r\n+OK\r\n:5\r\n-ERR x\r\n$-1\r\n")
	var f Follower
	follow(&f, string(stream), 3)
	if n := testing.AllocsPerRun(100, func() {
		for i := 0; i < len(stream); i += 3 {
			if _, err := f.Follow(stream[i:min(i+3, len(stream))]); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
