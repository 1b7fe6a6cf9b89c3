// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	tickedge "tickedge/clients/go"
)

const patience = time.Minute

// standin answers subscriptions: BAD is rejected, NONE has no value, all others have one, and an update each millisecond. With a
// token of its own it wants that.
func standin(t *testing.T, token string) (url string) {
	t.Helper()
	var handlers sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "a token is wanted", http.StatusUnauthorized)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		serve(r.Context(), ws)
	}))
	t.Cleanup(func() {
		server.Close()
		handlers.Wait()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func serve(ctx context.Context, ws *websocket.Conn) {
	say := func(format string, args ...any) error {
		return ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...))
	}
	_ = say(`{"t":"hello","v":1,"conn":"1","interval":500,"heartbeat":20000,"max_topics":256}`)
	var cmd struct {
		Op     string
		Topics []string
		ID     int
	}
	_, payload, err := ws.Read(ctx)
	if err != nil || json.Unmarshal(payload, &cmd) != nil {
		return
	}
	_ = say(`{"t":"ack","id":%d,"op":"subscribe","topics":1,"rejected":[{"topic":"BAD","code":403,"reason":"not allowed"}]}`, cmd.ID)
	ctx, cancel := context.WithCancel(ctx)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer ws.CloseNow()
	reader.Go(func() {
		defer cancel()
		for {
			if _, _, err := ws.Read(ctx); err != nil {
				return
			}
		}
	})
	for n := 1; ; n++ {
		for _, name := range cmd.Topics {
			if name != "BAD" && name != "NONE" {
				err = say(`{"t":"update","ts":1732181723500,"d":[{"s":%q,"n":%d,"v":{"p":189.870000000000000001,"<":"\u009b"}}]}`, name, n)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
		if err != nil {
			return
		}
	}
}

func noEnv(string) string { return "" }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// result of a run.
type result struct {
	code     int
	out, err string
}

func try(ctx context.Context, getenv func(string) string, args ...string) result {
	var out, err bytes.Buffer
	code := run(ctx, args, getenv, &out, &err)
	return result{code, out.String(), err.String()}
}

// get prints each value once, in the order of the symbols, and its code says whether all were there.
func TestGet(t *testing.T) {
	url := standin(t, "")
	r := try(t.Context(), noEnv, "get", "B", "-url", url, "A", "B", "-timeout", "1m")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.code != exitOK || r.err != "" || len(lines) != 2 {
		t.Fatalf("%+v", r)
	}
	for i, topic := range []string{"B", "A"} {
		want := `{"topic":"` + topic + `","state":"live","value":{"p":189.870000000000000001,"<":"\u009b"},"n":`
		if !strings.HasPrefix(lines[i], want) || !json.Valid([]byte(lines[i])) {
			t.Errorf("line %d is %s, want %s…", i, lines[i], want)
		}
	}
	r = try(t.Context(), noEnv, "get", "-url", url, "A", "BAD", "-timeout", "1m")
	if r.code != exitMissing || !strings.Contains(r.out, `"A"`) || !strings.Contains(r.err, "BAD: 403 not allowed") {
		t.Errorf("%+v", r)
	}
	r = try(t.Context(), noEnv, "get", "-url", url, "NONE", "-timeout", "300ms")
	if r.code != exitMissing || r.out != "" || !strings.Contains(r.err, "NONE: no value in time") {
		t.Errorf("%+v", r)
	}
}

// An edge that is not there, or refuses, is said in a line, without the token.
func TestNoEdge(t *testing.T) {
	const token = "hush.hush.hush"
	r := try(t.Context(), noEnv, "get", "-url", "ws://127.0.0.1:1", "A", "-timeout", "300ms", "-token", token)
	if r.code != exitMissing || !strings.Contains(r.err, "connection refused") || strings.Contains(r.err, token) {
		t.Errorf("%+v", r)
	}
	url := standin(t, "another")
	r = try(t.Context(), noEnv, "watch", "-url", url, "A", "-token", token)
	if r.code != exitMissing || !strings.Contains(r.err, "refused") || strings.Contains(r.err, token) {
		t.Errorf("%+v", r)
	}
}

// The token comes from a flag, a file or the environment.
func TestToken(t *testing.T) {
	const token = "hush.hush.hush"
	url := standin(t, token)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, given := range []struct{ env, value, flag string }{
		{tokenEnv, token, ""}, {tokenFileEnv, file, ""}, {"", "", "-token=" + token}, {"", "", "-token-file=" + file},
		{tokenEnv, "wrong", "-token-file=" + file},
	} {
		args := []string{"get", "-url", url, "A", "-timeout", "1m"}
		if given.flag != "" {
			args = append(args, given.flag)
		}
		r := try(t.Context(), func(name string) string {
			if name == given.env {
				return given.value
			}
			return ""
		}, args...)
		if r.code != exitOK {
			t.Errorf("%+v: %+v", given, r)
		}
	}
}

// watch ends with its time: 0 if all had a value.
func TestWatch(t *testing.T) {
	url := standin(t, "")
	r := try(t.Context(), noEnv, "watch", "-url", url, "A", "B", "-timeout", "2s")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.code != exitOK || len(lines) < 4 {
		t.Errorf("%+v", r)
	}
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Errorf("no JSON: %s", l)
		}
	}
	r = try(t.Context(), noEnv, "watch", "-url", url, "A", "NONE", "-timeout", "2s")
	if r.code != exitMissing || !strings.Contains(r.err, "NONE") {
		t.Errorf("%d %s", r.code, r.err)
	}
}

// Wrong usage is code 2, and says what is right.
func TestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"say what to do":       {},
		"there is no command":  {"got", "A"},
		"say of which symbols": {"get", "-json"},
		"-nope":                {"get", "-nope", "A"},
		"-timeout is":          {"watch", "A", "-timeout", "-5s"},
		"-interval is":         {"watch", "A", "-interval", "5ms"},
		"not both":             {"get", "A", "-token", "hush", "-token-file", "x"},
		"can't be read":        {"get", "A", "-token-file", "/nonexistent"},
		"is empty":             {"get", "A", ""},
		"invalid value":        {"get", "A", "-timeout", "soon"},
		"want one such as":     {"watch", "A", "-url", "localhost:8080"},
	} {
		if r := try(t.Context(), noEnv, args...); r.code != exitUsage || !strings.Contains(r.err, want) || strings.Contains(r.err, "hush") || r.out != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	for _, args := range [][]string{{"-h"}, {"get", "--help"}, {"help"}} {
		r := try(t.Context(), noEnv, args...)
		if r.code != exitOK || r.err != "" || !strings.Contains(r.out, "tickedge watch") {
			t.Errorf("%q: %+v", args, r)
		}
		for line := range strings.Lines(r.out) {
			if utf8.RuneCountInString(line) > columns+1 {
				t.Errorf("a line of help is too long: %s", line)
			}
		}
	}
	if c, err := parse([]string{"get", "--", "-json"}, noEnv); err != nil || c.json || len(c.symbols) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

// A table fits its terminal, whatever the values hold, and nothing of them is a command to it.
func TestTable(t *testing.T) {
	show := newTable([]string{"AAPL", "币安人生USDT", "C", "D"})
	show.rows["AAPL"] = tickedge.Update{State: tickedge.Live, Value: json.RawMessage("\"\x1b[2J\u009b\u202e" + strings.Repeat("币", 50) + `"`)}
	show.rows["C"] = tickedge.Update{State: tickedge.Stale, Code: 403, Reason: "not permitted", Value: json.RawMessage("5")}
	lines := show.text(40, 24)
	if len(lines) != 5 || !strings.Contains(lines[3], "5 (403 not") {
		t.Errorf("%q", lines)
	}
	for _, l := range lines {
		if cells(l) > 40 || strings.ContainsAny(l, "\x1b\u009b\u202e") {
			t.Errorf("%q has %d columns", l, cells(l))
		}
	}
	if lines = show.text(40, 4); len(lines) != 3 || !strings.Contains(lines[2], "and 3 more") {
		t.Errorf("%q", lines)
	}
	var out bytes.Buffer
	for range 2 {
		if err := show.draw(&out, 40, 24); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "\x1b[5A\r\x1b[J"); n != 1 {
		t.Errorf("the second picture is not drawn over the first: %q", out.String())
	}
}

// Ctrl-C ends watch in order, though its timeout has not come.
func TestInterrupt(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "tickedge")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary, "watch", "-url", standin(t, ""), "A", "NONE", "-timeout", "5m")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems bytes.Buffer
	cmd.Stderr = &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil || problems.Len() > 0 {
		t.Errorf("%v: %s", err, problems.String())
	}
}

// An interrupted get says what is missing.
func TestInterruptedGet(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupt signal received"))
	if r := try(ctx, noEnv, "get", "-url", standin(t, ""), "NONE"); r.code != exitMissing || r.err == "" {
		t.Errorf("%+v", r)
	}
}
