// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/bench/internal/lab"
)

// command reads one command as Redis does.
func command(t *testing.T, in *bufio.Reader) []string {
	t.Helper()
	var n int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
		t.Fatal(err)
	}
	words := make([]string, n)
	for i := range words {
		var size int
		if _, err := fmt.Fscanf(in, "$%d\r\n", &size); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil || string(b[size:]) != "\r\n" {
			t.Fatalf("%q, %v", b, err)
		}
		words[i] = string(b[:size])
	}
	return words
}

// Every topic has its turn once in a round, each with the time of its own write, and the
// rounds go on.
func TestRing(t *testing.T) {
	for _, set := range []bool{false, true} {
		r := newRing(&config{topics: 5, name: "T%d", set: set, seed: 1})
		var seen []string
		for turn, at := 0, time.UnixMilli(1_700_000_000_000); len(seen) < 10; turn, at = turn+1, at.Add(time.Millisecond) {
			text, n := r.take(2, at)
			in := bufio.NewReader(bytes.NewReader(text))
			for range n {
				if set {
					if got := command(t, in); len(got) != 1 || got[0] != "MULTI" {
						t.Fatalf("%q", got)
					}
				}
				var key, value string
				if set {
					got := command(t, in)
					if len(got) != 3 || got[0] != "SET" {
						t.Fatalf("%q", got)
					}
					key, value = got[1], got[2]
				}
				got := command(t, in)
				topic := strings.TrimPrefix(got[1], "channel:prices:")
				if len(got) != 3 || got[0] != "PUBLISH" || set && (key != "price:"+topic || value != got[2]) {
					t.Fatalf("%q after %q %q", got, key, value)
				}
				var v struct {
					P, B, A float64
					TS      int64
				}
				if err := json.Unmarshal([]byte(got[2]), &v); err != nil || v.TS != at.UnixMilli() || v.P < 10 || v.B >= v.P || v.A <= v.P {
					t.Fatalf("%s at %d: %v", got[2], at.UnixMilli(), err)
				}
				if set {
					if got := command(t, in); len(got) != 1 || got[0] != "EXEC" {
						t.Fatalf("%q", got)
					}
				}
				seen = append(seen, topic)
			}
			if rest, _ := io.ReadAll(in); len(rest) > 0 {
				t.Fatalf("behind %d ticks: %q", n, rest)
			}
		}
		first, second := seen[:5], seen[5:]
		for i := range 5 {
			if name := fmt.Sprint("T", i); strings.Count(strings.Join(first, " ")+" ", name+" ") != 1 || first[i] != second[i] {
				t.Errorf("the rounds are %q and %q", first, second)
			}
		}
	}
}

func TestReplies(t *testing.T) {
	var r replies
	err := r.read(strings.NewReader(":1\r\n:0\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:10\r\n"))
	if r.published.Load() != 3 || r.unheard.Load() != 1 || err == nil {
		t.Errorf("%d, %d, %v", r.published.Load(), r.unheard.Load(), err)
	}
	err = r.read(strings.NewReader("-OOM command not allowed\r\n:1\r\n"))
	if r.published.Load() != 3 || err == nil || !strings.Contains(err.Error(), "OOM command not allowed") {
		t.Errorf("%d, %v", r.published.Load(), err)
	}
}

func TestWrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-rate 0": "such as -rate 1000", "-topics 0": "such as -topics 1000", "-topic-name X": "such as -topic-name SYM",
		"-redis localhost": "redis://host:port", "-redis redis://:secret@a:1": "redis://host:port", "now": "not a flag", "-nonsense": "not defined",
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) || strings.Contains(stderr.String(), "secret") {
			t.Errorf("%s: %d, %s", args, code, &stderr)
		}
	}
}

// redis starts a server of its own and returns its address.
func redis(t *testing.T) string {
	t.Helper()
	l, err := lab.New(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, url, err := l.Redis()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(url, "redis://")
}

// ask sends commands, a line each, and returns a reader of the answers.
func ask(t *testing.T, addr, lines string) *bufio.Reader {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, lines); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(c)
}

// Half of the topics have a subscriber, who counts what comes.
func TestPublishesAndAccounts(t *testing.T) {
	addr := redis(t)
	for _, args := range []string{"", " -set"} {
		heard := make(chan int, 1)
		in := ask(t, addr, "SUBSCRIBE channel:prices:T0 channel:prices:T1\r\n")
		for range 2 * 6 { // Lines of the two confirmations.
			if _, err := in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var once sync.Once
		go func() {
			n := 0
			for {
				line, err := in.ReadString('\n')
				if err != nil || line == "$4\r\n" { // "over", below.
					break
				}
				if line == "message\r\n" {
					if n++; n == 300 {
						once.Do(cancel)
					}
				}
			}
			heard <- n - 1 // Without the last one.
		}()
		var stdout, stderr bytes.Buffer
		if code := run(ctx, strings.Fields("-topics 4 -topic-name T%d -rate 2000 -redis redis://"+addr+args), &stdout, &stderr); code != exitGood {
			t.Fatalf("%d, %s", code, &stderr)
		}
		cancel()
		var r report
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		ask(t, addr, "PUBLISH channel:prices:T0 over\r\n")
		if n := <-heard; r.Sent < 598 || r.Unheard < r.Sent/2-1 || r.Unheard > r.Sent/2+1 || uint64(n) != r.Sent-r.Unheard {
			t.Errorf("%s: %+v, and %d were heard", args, r, n)
		}
		value, err := ask(t, addr, "STRLEN price:T3\r\n").ReadString('\n')
		if err != nil || (value == ":0\r\n") != (args == "") {
			t.Errorf("%s: the key has %q bytes, %v", args, value, err)
		}
	}
}

// Who is not Redis, or goes away, ends the run with an error.
func TestFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for _, answer := range []string{"-NOAUTH Authentication required.\r\n", ""} {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 10))
			_, _ = io.WriteString(c, answer)
			if answer == "" {
				c.Close()
			} else {
				defer c.Close()
			}
		}
	}()
	for _, want := range []string{"NOAUTH", ""} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"-topics", "2", "-redis", "redis://" + ln.Addr().String()}, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("%d, %s", code, &stderr)
		}
	}
	ln.Close()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-topics", "2", "-redis", "redis://" + ln.Addr().String()}, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "connect") {
		t.Errorf("%d, %s", code, &stderr)
	}
}
