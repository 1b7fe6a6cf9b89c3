// SPDX-License-Identifier: Apache-2.0

package httphead

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

func TestAppendResponse(t *testing.T) {
	for status, text := range statusText {
		if text != http.StatusText(status) {
			t.Errorf("%d %q, net/http says %q", status, text, http.StatusText(status))
		}
		out := AppendResponse([]byte("before"), status, "text/html", "Retry-After: 5\r\n", "<p>é")
		rest, ok := bytes.CutPrefix(out, []byte("before"))
		if !ok {
			t.Fatalf("dst is overwritten: %q", out)
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(rest)), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || string(body) != "<p>é" || res.ContentLength != 5 || !res.Close ||
			res.Header.Get("Retry-After") != "5" || res.Header.Get("Content-Type") != "text/html" {
			t.Errorf("%d: %+v %q (%v)", status, res, body, err)
		}
	}
}

// HEAD gets what GET gets, but for the body.
func TestWithoutBody(t *testing.T) {
	whole := AppendResponse(nil, 426, "text/plain", "Retry-After: 5\r\n", "a\r\n\r\nb")
	head := WithoutBody(whole)
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: "HEAD"})
	if err != nil || res.ContentLength != 6 || res.Header.Get("Retry-After") != "5" || !bytes.HasSuffix(head, []byte("\r\n\r\n")) || !bytes.HasPrefix(whole, head) {
		t.Errorf("%q: %+v (%v)", head, res, err)
	}
	for in, want := range map[string]bool{"HEAD / HTTP/1.1\r\n": true, "\r\nHEAD / X": true, "HEAD": false, "HEADS / ": false, "GET / HTTP/1.1": false, "": false} {
		if BeginsWithHEAD([]byte(in)) != want {
			t.Errorf("%q begins with HEAD: %v", in, !want)
		}
	}
}
