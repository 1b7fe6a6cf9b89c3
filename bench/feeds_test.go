// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tickedge/bench/internal/lab"
)

// A few topics of many that tick are wanted, in rounds.
func TestFeedOfBusyTopics(t *testing.T) {
	var res feedsResult
	labBench(t, &res, "feed", "-topics", "2", "-interval", "500ms", "-busy", "400", "-ver", "-rounds", "2")
	if len(res.Sources) != 1 || len(res.Sources[0].Rounds) != 2 || res.Sources[0].PerTick.Median == 0 {
		t.Fatalf("%+v", res)
	}
	for _, r := range res.Sources[0].Rounds {
		w := &r.Whole
		if r.Ticks < 100 || w.Wanted*4 < w.Sent-4 || w.Wanted*4 > w.Sent+4 || w.Ticks != w.Wanted || w.Unheard != w.Sent-w.Wanted || w.Lost != 0 || w.Wrong != 0 || !r.Ver || r.Host == 0 {
			t.Errorf("%+v", r)
		}
	}
}

func TestWrongRows(t *testing.T) {
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names := strings.Split(r.URL.Query().Get("topics"), ",")
		if len(names) > 256 {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, `{"d":[{"s":"T0","n":1,"v":"old"}`)
		for _, name := range names {
			if name != "T0" && name != "T300" {
				fmt.Fprintf(w, `,{"s":%q,"n":1,"v":{"p":%s}}`, name, name[1:])
			}
		}
		fmt.Fprint(w, `],"missing":[]}`)
	}))
	defer edge.Close()
	file := filepath.Join(t.TempDir(), lastFile)
	var text strings.Builder
	for i := range 400 {
		fmt.Fprintf(&text, "T%[1]d\t{\"p\":%[1]d}\n", i)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	server := &lab.Server{Addr: strings.TrimPrefix(edge.URL, "http://")}
	if n, row, err := wrongRows(t.Context(), server, file); n != 2 || row != `T300 is "", and was published as "{\"p\":300}"` || err != nil {
		t.Errorf("%d, %s, %v", n, row, err)
	}
	edge.Close()
	if _, _, err := wrongRows(t.Context(), server, file); err == nil {
		t.Error("no error without an edge")
	}
}

func TestSize(t *testing.T) {
	commit, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Skip("not in a clone of the source tree")
	}
	var res sizeResult
	labBench(t, &res, "size", "-rounds", "2", "-before", strings.TrimSpace(string(commit))[:12])
	if len(res.Edges) != 2 {
		t.Fatalf("%+v", res)
	}
	for i, e := range res.Edges {
		if strings.Contains(e.Ran, "/tree-") != (i == 0) {
			t.Errorf("%s ran %s", e.Name, e.Ran)
		}
		if e.Bytes < 5e6 || e.RSS.Median < 5e6 || e.Files.Median < 5 || len(e.Rounds) != 2 {
			t.Errorf("%+v", e)
		}
	}
}

// What the back office answers is counted line by line, and conns that are not answered as they should be
// are told.
func TestPost(t *testing.T) {
	over, asked, lacking := make(chan struct{}), atomic.Int64{}, atomic.Bool{}
	office := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer "+apiKey || r.Header.Get("Content-Type") != "application/x-ndjson" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		for lines, i := json.NewDecoder(r.Body), 0; ; i++ {
			var line struct {
				Topic string
				Value struct{ P, B, A, TS float64 }
			}
			if err := lines.Decode(&line); err != nil {
				break
			}
			result := resultTaken
			if i == 4 {
				result = "outdated"
			}
			if !lacking.Load() || i > 0 {
				fmt.Fprintf(w, `{"topic":%q,"ver":1,"result":%q}`+"\n", line.Topic, result)
			}
		}
		if asked.Add(1) == 5 {
			close(over)
		}
	}))
	defer office.Close()
	p := post(office.URL, 2, 5, 3, 0, over)
	if n := asked.Load(); len(p.problems) > 0 || n < 5 || p.results[resultTaken] != uint64(4*n) || p.results["outdated"] != uint64(n) || p.times.N() != uint64(n) {
		t.Errorf("%d requests: %v, %q", n, p.results, p.problems)
	}
	lacking.Store(true)
	if p := post(office.URL, 2, 5, 3, 0, nil); len(p.problems) != 2 || !strings.Contains(p.problems[0], "4 lines to 5") {
		t.Errorf("%q", p.problems)
	}
	office.Close()
	if p := post(office.URL, 1, 5, 3, 0, nil); len(p.problems) != 1 {
		t.Errorf("%q", p.problems)
	}
}
