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
