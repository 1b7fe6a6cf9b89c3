// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/wire"
)

// The short form against the edge of this tree.
func TestShortForm(t *testing.T) {
	var table, progress bytes.Buffer
	p := brief()
	p.seed = 1
	good, err := p.do(t.Context(), &table, &progress)
	if err != nil || !good {
		t.Fatalf("error %v\n%s", err, failures(progress.String()))
	}
	t.Log(strings.TrimSpace(table.String()[strings.LastIndex(strings.TrimSpace(table.String()), "\n"):]))
}

// failures is what of the progress is about inputs that failed.
func failures(progress string) string {
	var out []string
	for line := range strings.Lines(progress) {
		if !strings.HasPrefix(line, "ok ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestWrongFlags(t *testing.T) {
	for args, want := range map[string]string{"-shrot": "-shrot", "-seed x": "seed", "frames": "-only"} {
		var stderr bytes.Buffer
		if code := command(strings.Fields(args), io.Discard, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: code %d, %s", args, code, stderr.String())
		}
	}
}

// script serves conns that are opened like WebSockets and then do what the script says.
func script(t *testing.T, then func(net.Conn)) *edge {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					then(c)
				}
			}()
		}
	}()
	return &edge{addr: ln.Addr().String(), ctx: t.Context()}
}

var switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
	wire.Accept([16]byte{}) + "\r\n\r\n"

// server is a frame without a mask.
func server(b0 byte, payload string) string { return string([]byte{b0, byte(len(payload))}) + payload }

// Each reaction is told as what it is.
func TestReactions(t *testing.T) {
	const goesOn = `{"t":"pong","id":"alive","ts":1}`
	for _, c := range []struct{ sends, want string }{
		{switching + server(0x81, goesOn), "101, goes on"},
		{switching + server(0x81, `{"t":"hello"}`) + server(0x89, "") + server(0x81, `{"t":"update","d":[]}`) + server(0x81, goesOn), "101, goes on"},
		{switching + server(0x81, `{"t":"error","code":400}`) + server(0x81, `{"t":"error","code":400}`) + server(0x88, "\x11\x96"), "101, 2 × error 400, close 4502"},
		{switching + server(0x81, `{"t":"ack","rejected":[{"code":422},{"code":413}]}`) + server(0x8a, ""), "101, rejected 422, rejected 413, pong, ended"},
		{switching + server(0x81, "pong") + server(0x81, `"pong"`) + server(0x81, goesOn), "101, 2 × the word pong, goes on"},
		{switching + server(0x81, `{"t":"ack"}`) + server(0x88, ""), "101, ack, close 1005"},
		{switching + server(0x88, "x"), "101, bad close payload"},
		{switching + server(0x81, "{"), "101, no JSON: unexpected end of JSON input, ended"},
		{switching + "\x81\x85", "101, masked frame"},
		{"HTTP/1.1 400 Bad Request\r\n\r\nwhy", "HTTP 400"},
		{strings.Replace(switching, "Accept: ", "Accept: x", 1), "wrong Sec-WebSocket-Accept"},
		{"", "ended"},
	} {
		e := script(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, c.sends)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		})
		if got := request(with())(&run{edge: e}); got != c.want {
			t.Errorf("%q: %q, want %q", c.sends, got, c.want)
		}
	}
}

// One that stays silent is found.
func TestSilence(t *testing.T) {
	e := script(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, switching)
		_, _ = io.Copy(io.Discard, conn)
	})
	p, err := e.upgraded("")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_ = p.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if got := p.reaction(); got != "silence" {
		t.Errorf("%q", got)
	}
}

// Subscribers notice that nothing comes, and that they are sent away.
func TestWatchNotices(t *testing.T) {
	bye := make(chan struct{})
	e := script(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, switching)
		<-bye
		_, _ = io.WriteString(conn, server(0x88, "\x0f\xa1"))
	})
	w, err := startWatch(e)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	e.until(patience, func() bool { gap, _ := w.worst(0); return gap > 200*time.Millisecond })
	if gap, allowed := w.worst(time.Second); gap < 200*time.Millisecond || allowed < time.Second {
		t.Errorf("a gap of %v, %v allowed", gap, allowed)
	}
	if lost := w.lost(); lost != "" {
		t.Errorf("lost %s", lost)
	}
	close(bye)
	if !e.until(patience, func() bool { return strings.Contains(w.lost(), "close 4001") }) {
		t.Errorf("lost %q", w.lost())
	}
}

// What is to be broken is known by its name, and each name is of something.
func TestBrokenRepliesExist(t *testing.T) {
	names := 0
	for _, replies := range brokenReplies {
		names += len(replies.names)
	}
	if inputs := redisInputs(brief()); len(inputs) != names {
		t.Errorf("%d inputs of %d names", len(inputs), names)
	}
}

func TestWhatIsAbove(t *testing.T) {
	before := level{accepted: 50, conns: 50, subscriptions: 500, topics: 256, goroutines: 30, fds: 70, rss: 20 << 20}
	for _, c := range []struct {
		name   string
		change func(*level)
		topics bool
		want   string
	}{
		{"nothing", func(*level) {}, true, ""},
		{"a conn", func(v *level) { v.conns++ }, false, "connections"},
		{"a subscription", func(v *level) { v.subscriptions++ }, false, "subscriptions"},
		{"lingering topics", func(v *level) { v.topics++ }, false, ""},
		{"topics", func(v *level) { v.topics++ }, true, "topics"},
		{"channels", func(v *level) { v.channels++ }, true, "channels"},
		{"the feed's topics", func(v *level) { v.feedTopics++ }, true, "feed"},
		{"a pool", func(v *level) { v.goroutines += poolMax; v.fds += poolMax }, true, ""},
		{"goroutines", func(v *level) { v.goroutines += poolMax + 1 }, false, "goroutines"},
		{"descriptors", func(v *level) { v.fds += poolMax + 1 }, false, "descriptors"},
		{"memory", func(v *level) { v.rss += rssMax + 1<<20 }, false, "memory"},
		{"old counters", func(v *level) { v.accepted-- }, false, "accepted"},
	} {
		v := before
		c.change(&v)
		if got := v.above(&before, 50, c.topics); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
