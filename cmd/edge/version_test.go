// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// The version is told wherever an operator looks for it.
func TestVersion(t *testing.T) {
	t.Parallel()
	want := fmt.Sprintf("edge 1.2.3-test, commit %s, %s %s/%s\n", testCommit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, args := range []string{"-version", "version", "--version", "doctor -version", "-listen nonsense -version"} {
		// What platforms and images call their own version is not asked for one.
		code, stdout, stderr := runEdge(t, []string{"EDGE_VERSION=7", "EDGE_MAX_CONNS=many"}, strings.Fields(args)...)
		if code != 0 || stdout != want || stderr != "" {
			t.Errorf("%s: code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	e := start(t, "-demo", "-loops", "1")
	first, _, _ := strings.Cut(e.stderr.String(), "\n")
	var line struct{ Msg, Version, Commit, Go string }
	if err := json.Unmarshal([]byte(first), &line); err != nil || line.Msg != "starting" || line.Version != "1.2.3-test" || line.Commit != testCommit || line.Go != runtime.Version() {
		t.Errorf("the first line is %s", first)
	}
	name := fmt.Sprintf(`edge_build_info{commit=%q,go=%q,version="1.2.3-test"}`, testCommit, runtime.Version())
	if got := e.metric(name); got != "1" {
		t.Errorf("%s is %s", name, got)
	}
	status, body := e.get("/version")
	line.Version, line.Commit, line.Go = "", "", ""
	if err := json.Unmarshal([]byte(body), &line); err != nil || status != 200 || line.Version != "1.2.3-test" || line.Commit != testCommit || line.Go != runtime.Version() {
		t.Errorf("%d, %s", status, body) // It has a time too where Go has noted one, as in a clone.
	}
}

// Unknown variables are one warning each, in the log of an edge that runs.
func TestUnknownVariablesAreLogged(t *testing.T) {
	t.Setenv("EDGE_MAX_CONS", "hunter2")
	t.Setenv("EDGE_SERVICE_HOST", "10.0.0.1")
	e := start(t, "-demo", "-loops", "1")
	if said := e.stderr.String(); !strings.Contains(said, "EDGE_MAX_CONS in the environment is no variable of edge; did you mean EDGE_MAX_CONNS?") ||
		strings.Contains(said, "SERVICE_HOST") || strings.Contains(said, "hunter2") {
		t.Errorf("it said:\n%s", said)
	}
}
