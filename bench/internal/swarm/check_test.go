// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/fakeedge"
	"tickedge/bench/internal/wire"
)

// text is a script that opens a clean conn, sends messages and stays.
func text(messages func(topics []string) []string) func(*fakeedge.Conn) {
	return func(c *fakeedge.Conn) {
		for _, m := range messages(c.Open()) {
			c.Text(m)
		}
		c.Gone()
	}
}

// raw is a script that opens a clean conn, sends bytes and stays.
func raw(b string) func(*fakeedge.Conn) {
	return func(c *fakeedge.Conn) {
		c.Open()
		c.Raw(b)
		c.Gone()
	}
}

func row(kind, topic string, n int) string {
	return fakeedge.Rows(kind, []string{topic}, n, 0)
}

func twice(topic string) string {
	return fakeedge.Rows("update", []string{topic, topic}, 5, 0)
}

// Each way to misbehave is noticed, as what it is and as nothing else.
func TestViolations(t *testing.T) {
	for _, c := range []struct {
		want   string
		script func(*fakeedge.Conn)
	}{
		{HelloNotFirst, func(c *fakeedge.Conn) {
			c.Accept("")
			c.Text(fakeedge.Ack(len(c.Subscribe())))
			c.Gone()
		}},
		{HelloAgain, text(func([]string) []string { return []string{fakeedge.Hello} })},
		{NoAck, func(c *fakeedge.Conn) {
			c.Accept(fakeedge.Frame(wire.OpText, fakeedge.Hello))
			c.Gone()
		}},
		{AckShort, func(c *fakeedge.Conn) {
			c.Accept(fakeedge.Frame(wire.OpText, fakeedge.Hello))
			c.Text(fakeedge.Ack(len(c.Subscribe()) - 1))
			c.Gone()
		}},
		{AckShort, func(c *fakeedge.Conn) {
			c.Accept(fakeedge.Frame(wire.OpText, fakeedge.Hello))
			c.Subscribe()
			c.Text(`{"t":"ack","id":1,"op":"subscribe","topics":3,"rejected":[{"topic":"X","code":403}]}`)
			c.Gone()
		}},
		{RowsBeforeAck, func(c *fakeedge.Conn) {
			c.Accept(fakeedge.Frame(wire.OpText, fakeedge.Hello))
			topics := c.Subscribe()
			c.Text(fakeedge.Rows("snapshot", topics, 1, 0))
			c.Text(fakeedge.Ack(len(topics)))
			c.Gone()
		}},
		{RowNotAsked, text(func([]string) []string { return []string{row("update", "OTHER", 1)} })},
		{RowTwice, text(func(of []string) []string { return []string{twice(of[1])} })},
		{NDown, text(func(of []string) []string { return []string{row("update", of[2], 5), row("update", of[2], 4)} })},
		{SnapshotLate, text(func(of []string) []string { return []string{row("update", of[0], 5), row("snapshot", of[0], 5)} })},
		{EmptyRows, text(func([]string) []string { return []string{`{"t":"update","ts":1,"d":[]}`} })},
		{ErrorMessage, text(func([]string) []string { return []string{`{"t":"error","id":1,"code":503,"reason":"feed"}`} })},
		{string(wire.ErrJSON), text(func([]string) []string { return []string{`{"t":"update","d":[`} })},
		{string(wire.ErrRow), text(func([]string) []string { return []string{`{"t":"update","d":[{"n":1}]}`} })},
		{string(wire.ErrData), text(func([]string) []string { return []string{`{"t":"update"}`} })},
		{string(wire.ErrType), text(func([]string) []string { return []string{`{"ts":1}`} })},
		{Binary, raw("\x82\x01x")},
		{Fragmented, raw("\x01\x01{")},
		{string(wire.ErrMasked), raw("\x81\x80\x00\x00\x00\x00")},
		{string(wire.ErrReserved), raw("\xc1\x00")},
		{string(wire.ErrOpcode), raw("\x83\x00")},
		{string(wire.ErrLength), raw("\x81\x7e\x00\x01x")},
		{string(wire.ErrControl), raw("\x09\x00")},
		{string(wire.ErrLarge), raw("\x81\x7f\x00\x00\x00\xff\xff\xff\xff\xff")},
		{string(wire.ErrClose), raw("\x88\x01x")},
	} {
		t.Run(strings.ReplaceAll(c.want, " ", "_"), func(t *testing.T) {
			cfg := config(fakeedge.Scripted(t, c.script), 1)
			cfg.AckTimeout = time.Second
			sum := run(t, cfg, func(r *Report) bool { return r.Violations.Total() > 0 })
			of := sum.Violations[c.want]
			if of == nil || of.Count != 1 || len(sum.Violations) != 1 {
				t.Fatalf("violations: %s, want one: %s", kinds(sum.Violations), c.want)
			}
			if !strings.HasPrefix(of.Example, "conn 0 at ") {
				t.Errorf("example: %q", of.Example)
			}
			var fatal bool
			for _, f := range []wire.Fault{wire.ErrMasked, wire.ErrReserved, wire.ErrOpcode, wire.ErrLength, wire.ErrControl, wire.ErrLarge, wire.ErrClose} {
				fatal = fatal || c.want == string(f)
			}
			if lost := sum.Lost.Total() == 1; lost != fatal {
				t.Errorf("lost: %s", kinds(sum.Lost))
			}
		})
	}
}

func TestSilenceIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for 5 s")
	}
	addr := fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		c.Accept(fakeedge.Frame(wire.OpText, strings.Replace(fakeedge.Hello, "20000", "10", 1)))
		c.Text(fakeedge.Ack(len(c.Subscribe())))
		c.Gone()
	})
	sum := run(t, config(addr, 2), func(r *Report) bool { return r.Violations.Total() >= 2 })
	if sum.Violations[Silent] == nil || sum.Unserved != 2 {
		t.Errorf("violations: %s; %d unserved, want 2", kinds(sum.Violations), sum.Unserved)
	}
}

func TestLost(t *testing.T) {
	for _, c := range []struct {
		want   string
		script func(*fakeedge.Conn)
	}{
		{"close 4001 slow consumer", func(c *fakeedge.Conn) {
			c.Open()
			c.Text(`{"t":"bye","code":4001,"reason":"slow consumer"}`)
			c.Close(4001, "slow consumer")
			for {
				op, p, err := c.Read()
				if err != nil || op == wire.OpClose && string(p) == "\x0f\xa1" {
					return // The answer repeats the code.
				}
			}
		}},
		{"close 1005 ", raw("\x88\x00")},
		{"reset by server", func(c *fakeedge.Conn) { c.Open(); c.Reset() }},
		{"closed without a close frame", func(c *fakeedge.Conn) { c.Open() }},
	} {
		t.Run(strings.ReplaceAll(c.want, " ", "_"), func(t *testing.T) {
			sum := run(t, config(fakeedge.Scripted(t, c.script), 2), func(r *Report) bool { return r.Lost.Total() == 2 })
			if of := sum.Lost[c.want]; of == nil || of.Count != 2 || len(sum.Lost) != 1 {
				t.Errorf("lost: %s, want %s", kinds(sum.Lost), c.want)
			}
			if len(sum.Violations) > 0 || sum.Open != 0 || sum.Connected != 2 {
				t.Errorf("violations %s, %+v", kinds(sum.Violations), sum.Gauges)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		want, violation string
		script          func(*fakeedge.Conn)
	}{
		{"HTTP 503", "", func(c *fakeedge.Conn) { c.Raw("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n"); c.Gone() }},
		{"closed during the handshake", "", func(c *fakeedge.Conn) { c.Raw("HTTP/1.1 1") }},
		{"reset by server", "", func(c *fakeedge.Conn) { c.Reset() }},
		{"no answer within 300ms", "", func(c *fakeedge.Conn) { c.Gone() }},
		{string(wire.ErrHead), string(wire.ErrHead), func(c *fakeedge.Conn) { c.Raw("hello\r\n\r\n"); c.Gone() }},
		{string(wire.ErrAccept), string(wire.ErrAccept), func(c *fakeedge.Conn) {
			c.Head.Header.Set("Sec-WebSocket-Key", "another")
			c.Accept("")
			c.Gone()
		}},
	} {
		t.Run(strings.ReplaceAll(c.want, " ", "_"), func(t *testing.T) {
			cfg := config(fakeedge.Scripted(t, c.script), 1)
			cfg.HandshakeTimeout = 300 * time.Millisecond
			sum := run(t, cfg, func(r *Report) bool { return r.Refused.Total() == 1 })
			if of := sum.Refused[c.want]; of == nil || of.Count != 1 {
				t.Errorf("refused: %s, want %s", kinds(sum.Refused), c.want)
			}
			if (len(sum.Violations) > 0) != (c.violation != "") || sum.Connected != 0 {
				t.Errorf("violations %s, connected %d", kinds(sum.Violations), sum.Connected)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	sum := run(t, config(addr, 3), func(r *Report) bool { return r.Refused.Total() == 3 })
	if sum.Refused["connect: connection refused"] == nil {
		t.Errorf("refused: %s", kinds(sum.Refused))
	}
}
