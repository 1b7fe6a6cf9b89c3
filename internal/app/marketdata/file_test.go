// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tickedge/internal/app"
	"tickedge/internal/logtest"
)

// A recorded file of a day long past: all of its bars are closed at its end, an alias has them too, and what is run again
// changes nothing. A backup of them is restored elsewhere.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("symbols.yaml"), []byte(`symbols:
  - {symbol: "FILE:A", source: file, vendor: A, price_scale: 2, size_scale: 0}
  - {symbol: A, of: ["FILE:A"]}
`), 0o600))
	must(os.WriteFile(at("trades.ndjson"), []byte(`{"symbol":"FILE:A","price":"10.01","size":"2","time":1700000000000,"id":1}
{"symbol":"FILE:A","price":"10.05","size":"1","time":1700000030000,"id":3}
{"symbol":"FILE:A","price":"9.99","size":"1","time":1700000020000,"id":2}
{"symbol":"FILE:A","price":"flawed","size":"1","time":1700000020000,"id":4}
{"symbol":"FILE:A","price":"11","size":"4","time":1700003700000,"id":5}
`), 0o600))
	args := func(history string) []string {
		return []string{"-in=file", "-file=" + at("trades.ndjson"), "-symbols-file=" + at("symbols.yaml"), "-history=" + at(history), "-retention=", "-admin=", "-listen="}
	}
	for range 2 {
		if code, _, stderr := run(args("h")...); code != app.OK || !strings.Contains(stderr, "all trades have come") {
			t.Fatalf("%d %s", code, stderr)
		}
	}
	if _, _, stderr := run(args("h")...); !strings.Contains(stderr, "trades=0 flawed=1 known=4") || !strings.Contains(stderr, "a folder for each") {
		t.Errorf("what was read is not told: %s", stderr)
	}
	if code, stdout, stderr := run("backup", at("bars.gz"), "-history="+at("h")); code != app.OK || stdout != "22 bars\n" {
		t.Fatalf("%d %s%s", code, stdout, stderr)
	}
	if code, _, stderr := run("backup", at("bars.gz"), "-history="+at("none")); code != app.Failed || !strings.Contains(stderr, "-history has no bars") {
		t.Errorf("a folder that is not there: %d %s", code, stderr)
	}
	if _, err := os.Stat(at("none")); !os.IsNotExist(err) {
		t.Errorf("a backup made a folder: %v", err)
	}
	if code, _, stderr := run("-in=file", "-file="+at("none"), "-symbols=FILE:A", "-check"); code != app.Usage || !strings.Contains(stderr, "-file: ") {
		t.Errorf("a file that is not there: %d %s", code, stderr)
	}
	must(os.WriteFile(at("bad.csv"), []byte("time;price\n"), 0o600))
	if code, _, stderr := run("-in=file", "-file="+at("bad.csv"), "-symbols=FILE:A", "-admin="); code != app.Failed || strings.Contains(stderr, "file: file:") {
		t.Errorf("a file without a head: %d %s", code, stderr)
	}
	f, err := os.Open(at("bars.gz"))
	must(err)
	defer f.Close()
	_, err = gzip.NewReader(f)
	must(err)
	if code, stdout, stderr := run("restore", at("bars.gz"), "-history="+at("h2")); code != app.OK || stdout != "22 bars\n" {
		t.Fatalf("%d %s%s", code, stdout, stderr)
	}
	if code, _, stderr := run("restore", at("bars.gz"), "-history="+at("h2")); code != app.Failed || !strings.Contains(stderr, "-over") {
		t.Errorf("into a history that has bars: %d %s", code, stderr)
	}
	if code, stdout, stderr := run("restore", at("bars.gz"), "-over", "-history="+at("h2")); code != app.OK || stdout != "22 bars\n" {
		t.Errorf("over a history that has bars: %d %s%s", code, stdout, stderr)
	}
	for _, history := range []string{"h", "h2"} {
		for _, symbol := range []string{"A", "FILE:A"} {
			const want = `[{"t":1699999980000,"o":10.01,"h":10.05,"l":9.99,"c":10.05,"v":4,"q":40.06,"n":3},{"t":1700003700000,"o":11,"h":11,"l":11,"c":11,"v":4,"q":44,"n":1}]`
			if got := answer(t, at(history), symbol, "1m"); got != want {
				t.Errorf("%s of %s: %s\nwant %s", symbol, history, got, want)
			}
		}
	}
}

// answer is what a history answers with, without any trades.
func answer(t *testing.T, history, symbol, tf string) string {
	t.Helper()
	c, err := Parse([]string{"-in=sim", "-symbols=X", "-history=" + history, "-retention=", "-admin=", "-listen="})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	handler := make(chan http.Handler, 1)
	c.OnHistory(func(h http.Handler) { handler <- h })
	logger, log := logtest.New(t)
	ended := make(chan int)
	go func() { ended <- Run(ctx, c, logger) }()
	w := httptest.NewRecorder()
	(<-handler).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/history/"+symbol+"?tf="+tf, nil))
	cancel()
	<-ended
	var a struct {
		Bars json.RawMessage `json:"bars"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%d %s: %v\n%s", w.Code, w.Body, err, log)
	}
	return string(a.Bars)
}
