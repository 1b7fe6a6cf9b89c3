// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// Those that are wanted come at even distances, with versions as they are asked for, and the last
// value of each is told.
func TestRingOfNATS(t *testing.T) {
	c := &config{topics: 10, wanted: 2, name: "T%d", seed: 1, nats: true, subject: "md.", ver: true}
	for _, c.acked = range []bool{false, true} {
		r := newRing(c)
		at := time.UnixMicro(1_700_000_000_123_456)
		text, n := r.take(9, at)
		if n != 9 || r.wanted != 1 {
			t.Fatalf("%d, %d of them wanted", n, r.wanted)
		}
		reply, seen := "", map[string]string{}
		if c.acked {
			reply = natsInbox + " "
		}
		for lines := strings.Split(strings.TrimSuffix(string(text), "\r\n"), "\r\n"); len(lines) > 0; lines = lines[2:] {
			topic, rest, _ := strings.Cut(strings.TrimPrefix(lines[0], "PUB md."), " ")
			if rest != fmt.Sprint(reply, len(lines[1])) {
				t.Fatalf("%q", lines)
			}
			var v struct{ TS, Ver int64 }
			if err := json.Unmarshal([]byte(lines[1]), &v); err != nil || v.TS != at.UnixMilli() || v.Ver != at.UnixMicro() || !strings.HasSuffix(lines[1], `,"ver":1700000000123456}`) {
				t.Fatalf("%s: %v", lines[1], err)
			}
			seen[topic] = lines[1]
		}
		last := string(r.last())
		topic, value, _ := strings.Cut(strings.TrimSpace(last), "\t")
		if len(seen) != 9 || strings.Count(last, "\n") != 1 || topic != "T0" && topic != "T1" || seen[topic] != value {
			t.Errorf("last values %q of %q", last, seen)
		}
		if r.take(9, at); r.wanted != 2 {
			t.Errorf("%d of 10 are wanted", r.wanted)
		}
	}
}

// conn is what a server says, and takes what it is told.
type conn struct {
	io.Reader
	told bytes.Buffer
}

func (c *conn) Write(b []byte) (int, error) { return c.told.Write(b) }

func TestRepliesOfNATS(t *testing.T) {
	var r replies
	ack := `{"stream":"PRICES","seq":1}`
	c := &conn{Reader: strings.NewReader("INFO {}\r\nPONG\r\nPING\r\nMSG _INBOX.publisher 1 27\r\n" + ack + "\r\nMSG _INBOX.publisher 1 27\r\n" + ack + "\r\n")}
	if err := r.readNATS(c); r.published.Load() != 2 || r.pongs.Load() != 1 || c.told.String() != "PONG\r\n" || !errors.Is(err, io.EOF) {
		t.Errorf("%d, %d, %q, %v", r.published.Load(), r.pongs.Load(), &c.told, err)
	}
	for text, want := range map[string]string{
		"-ERR 'Authorization Violation'\r\n": "Authorization", "MSG _INBOX.publisher 1 99999999\r\n": "99999999",
		"MSG _INBOX.publisher 1 34\r\n" + `{"error":{"code":503},"seq":0,"x":1}` + "\r\n": "503", "MSG _INBOX.publisher 1 27\r\n{": "EOF",
	} {
		if err := r.readNATS(&conn{Reader: strings.NewReader(text)}); r.published.Load() != 2 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d, %v", text, r.published.Load(), err)
		}
	}
}

// What is not acknowledged is bounded, and goes on when it is.
func TestUnacked(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var answers replies
	written := writes(make(chan int, 100))
	w := &writer{commands: newRing(&config{topics: 1000, name: "T%d", nats: true}), rate: 1e6, answers: &answers, unacked: 30, conn: written}
	ended := make(chan error, 1)
	go func() { ended <- w.write(ctx) }()
	for range 3 {
		n := 0
		for n < 30 {
			n += <-written
		}
		if n != 30 {
			t.Errorf("%d are not acknowledged", n)
		}
		answers.published.Add(30)
	}
	cancel()
	if err := <-ended; err != nil || w.Blocked == 0 {
		t.Errorf("blocked for %v, %v", w.Blocked, err)
	}
}

// writes tells how many messages were written each time.
type writes chan int

func (w writes) Write(b []byte) (int, error) {
	select {
	case w <- bytes.Count(b, []byte("PUB ")):
	default: // Nobody looks any more.
	}
	return len(b), nil
}

func TestWrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-rate 0": "such as -rate 1000", "-topics 0": "such as -topics 1000", "-topic-name X": "such as -topic-name SYM",
		"-source localhost": "redis://host:port", "-source redis://:secret@a:1": "redis://host:port", "now": "not a flag", "-nonsense": "not defined",
		"-source kafka://a:1": "redis://host:port", "-source nats://a:1?subject=md.*": "nats://host:port", "-source nats://a:1 -set": "no keys", "-topics 9 -wanted 10": "such as -wanted 100",
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
		if code := run(ctx, strings.Fields("-topics 4 -topic-name T%d -rate 2000 -source redis://"+addr+args), &stdout, &stderr); code != exitGood {
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
		if code := run(t.Context(), []string{"-topics", "2", "-source", "redis://" + ln.Addr().String()}, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("%d, %s", code, &stderr)
		}
	}
	ln.Close()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-topics", "2", "-source", "redis://" + ln.Addr().String()}, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "connect") {
		t.Errorf("%d, %s", code, &stderr)
	}
}

// Values that move are JSON of one length, are everywhere that they may be, and come and go over a limit.
func TestMovingValues(t *testing.T) {
	for _, set := range []bool{false, true} {
		for _, ver := range []bool{false, true} {
			r := newRing(&config{topics: 100, wanted: 100, name: "T%03d", set: set, ver: ver, moving: true, seed: 1})
			sizes, tenths, inside, crossed, before := map[int]bool{}, map[int]bool{}, 0, 0, map[string]bool{}
			const rounds = 100
			for range rounds * 100 {
				text, _ := r.take(1, time.UnixMilli(1_700_000_000_000))
				in, values := bufio.NewReader(bytes.NewReader(text)), map[string]bool{}
				topic := ""
				for in.Buffered() > 0 || topic == "" {
					if words := command(t, in); len(words) == 3 {
						values[words[2]], topic = true, words[1]
					}
				}
				if len(values) != 1 {
					t.Fatalf("SET and PUBLISH differ: %q", text)
				}
				for value := range values {
					var v struct {
						P, B, A, H, L, V float64
						Pct              float64 `json:"chg_pct"`
						TS, Ver          int64
					}
					if err := json.Unmarshal([]byte(value), &v); err != nil || v.B >= v.P || v.A <= v.P || v.V < 1e6 || v.V >= 1e7 || v.Pct < 0 || v.Pct > 9.99 ||
						v.TS != 1_700_000_000_000 || ver != (v.Ver == 1_700_000_000_000_000) {
						t.Fatalf("%s: %v", value, err)
					}
					sizes[len(value)], tenths[int(v.Pct*10+0.001)%10] = true, true
					in := v.Pct > 9 && v.V > 2e6
					if was, ok := before[topic]; ok && was != in {
						crossed++
					}
					if before[topic] = in; in {
						inside++
					}
				}
			}
			if len(sizes) != 1 || len(tenths) != 10 || inside < rounds*100*4/100 || inside > rounds*100*14/100 || crossed < rounds/5 {
				t.Errorf("set %v, ver %v: sizes %v, %d of %d inside, %d times in or out", set, ver, sizes, inside, rounds*100, crossed)
			}
		}
	}
}
