// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/wire"
)

func TestBusiest(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		times []time.Duration
		most  int
	}{
		{nil, 0}, {[]time.Duration{3 * s}, 1}, {[]time.Duration{5 * s, 0, s - 1, s, 2*s - 2}, 3}, {[]time.Duration{0, s, 2 * s}, 1},
	} {
		most, last := busiest(c.times)
		if most != c.most || len(c.times) > 0 && last != slices.Max(c.times) {
			t.Errorf("%v: %d, %v; want %d", c.times, most, last, c.most)
		}
	}
	if is := histogram([]time.Duration{2*s + 1, 0, 1}); !slices.Equal(is, []int{2, 0, 1}) {
		t.Errorf("%v", is)
	}
}

func TestStateOfAnEdge(t *testing.T) {
	s, err := readState(strings.NewReader(`{"conn":"1","remote":"127.0.1.2:4000"}` + "\n" + `{"conn":"2","remote":"127.0.1.2:4001"}` + "\n" +
		`{"conn":"3","remote":"127.0.1.3"}` + "\n"))
	if err != nil || s.open != 3 || len(s.addresses) != 2 || s.addresses[netip.MustParseAddr("127.0.1.2")] != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := readState(strings.NewReader(`{"remote":"@"}`)); err == nil {
		t.Error("what is no address is taken for one")
	}
}

func TestMessages(t *testing.T) {
	for text, want := range map[string]bool{
		`{"t":"update","d":[{"s":"A","n":1,"v":1}]}`: true, `{"t":"snapshot","d":[{"s":"A","n":1,"v":1}]}`: true,
		`{"t":"snapshot","d":[]}`: false, `{"t":"hello","v":1}`: false, `{"t":"ack","topics":[{"s":1}]}`: false,
	} {
		if hasRows([]byte(text)) != want {
			t.Errorf("%s: want %v", text, want)
		}
	}
	if is := retryOf([]byte(`{"t":"bye","code":1012,"retry_ms":420}`)); is != 420*time.Millisecond {
		t.Errorf("retry is %v", is)
	}
	if is := retryOf([]byte(`{"t":"bye","code":4505}`)); is >= 0 {
		t.Errorf("a bye without a time has %v", is)
	}
	big := bytes.Repeat([]byte("x"), 70_000)
	frames := append([]byte{0x81, 2, 'h', 'i', 0x89, 0, 0x81, 126, 1, 0}, big[:256]...)
	frames = append(append(frames, 0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70), big...)
	var buf []byte
	in := bufio.NewReader(iotestOneByte{bytes.NewReader(frames)})
	for _, want := range []struct {
		op  wire.Op
		len int
	}{{wire.OpText, 2}, {wire.OpPing, 0}, {wire.OpText, 256}, {wire.OpText, 70_000}} {
		if op, payload, err := readFrame(in, &buf); op != want.op || len(payload) != want.len || err != nil {
			t.Errorf("%v of %d, %v; want %v of %d", op, len(payload), err, want.op, want.len)
		}
	}
}

// iotestOneByte gives a byte at a time, as a network may.
type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

func TestPanels(t *testing.T) {
	all, err := readPanels([]byte(`{"panels":[{"type":"row","title":"A"},{"title":"B","targets":[{"expr":"rate(x[$__rate_interval]) > increase(x[$__range])"}]}]}`))
	if err != nil || len(all) != 1 || all[0] != (panel{"B", "rate(x[1m]) > increase(x[30m])"}) {
		t.Errorf("%v, %v", all, err)
	}
	answers := map[string]string{"x": `{"data":{"result":[{},{}]}}`, "y": `{"data":{"result":[]}}`, "z": `{"error":"bad"}`}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, answers[r.FormValue("query")])
	}))
	defer s.Close()
	for query, want := range map[string]int{"x": 2, "y": 0} {
		if n, err := ask(t.Context(), s.Listener.Addr().String(), query); n != want || err != nil {
			t.Errorf("%s: %d, %v", query, n, err)
		}
	}
	if _, err := ask(t.Context(), s.Listener.Addr().String(), "z"); err == nil {
		t.Error("an error is no answer")
	}
}

// An alert is waited for until it fires, and then until it does no longer; what was killed is started in any case.
func TestAlerts(t *testing.T) {
	dir := t.TempDir()
	// The script notes what is away: so long the alert about it fires, but for one that never does.
	script := filepath.Join(dir, "script")
	text := "#!/bin/sh\necho \"$1 $2\" >>" + dir + "/done\nif [ $1 = kill ]; then touch " + dir + "/$2; else rm " + dir + "/$2; fi\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	deaf := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result := "[]"
		for _, o := range outages {
			_, err := os.Stat(filepath.Join(dir, o.name))
			if o.name == deaf && err == nil {
				cancel()
			}
			if o.name != deaf && err == nil && r.FormValue("query") == `ALERTS{alertname="`+o.alert+`",alertstate="firing"}` {
				result = "[{}]"
			}
		}
		_, _ = io.WriteString(w, `{"data":{"result":`+result+`}}`)
	}))
	defer s.Close()
	crowd := newCrowd("", "", 0, 1, nil)
	defer crowd.end()
	var out bytes.Buffer
	tr := &trial{config: &config{script: script, prometheus: s.Listener.Addr().String()}, crowd: crowd, stdout: &out, stderr: io.Discard}
	if err := tr.alerts(t.Context()); err != nil || out.Len() > 0 {
		t.Errorf("it was not asked for: %v, %s", err, &out)
	}
	tr.alerting = true
	if err := tr.alerts(t.Context()); err != nil || len(tr.wrong) > 0 || strings.Count(out.String(), "fires after 0 s") != 3 {
		t.Errorf("%v, %v\n%s", err, tr.wrong, &out)
	}
	said, err := os.ReadFile(filepath.Join(dir, "done"))
	if want := "kill edge3\nstart edge3\nkill redis\nstart redis\nkill marketdata\nstart marketdata\n"; err != nil || string(said) != want {
		t.Errorf("%v\n%s", err, said)
	}
	deaf = "redis"
	if err := tr.alerts(ctx); err == nil {
		t.Error("an alert that does not fire is none")
	}
	if _, err := os.Stat(filepath.Join(dir, "redis")); err == nil {
		t.Error("what was killed is still away")
	}
}

// Clients who are sent away come back when they were told to, and all that they see is counted.
func TestCrowd(t *testing.T) {
	serve := httptest.NewTLSServer(nil)
	cert := serve.TLS.Certificates[0]
	roots := serve.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	serve.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const clients = 8
	conns := make(chan net.Conn, 10*clients)
	var from [clients]string
	go func() {
		for n := 0; ; n++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if n < clients {
				from[n] = conn.RemoteAddr().(*net.TCPAddr).IP.String()
			}
			go answer(conn, conns)
		}
	}()
	c := newCrowd(ln.Addr().String(), "/ws", clients, 4, &tls.Config{RootCAs: roots, ServerName: "example.com"})
	defer c.end()
	if err := c.hold(t.Context()); err != nil {
		t.Fatal(err, c.now.Load().closings)
	}
	if _, err := c.fresh(t.Context(), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	p := c.begin()
	for i := range clients {
		conn := <-conns
		if i < 3 {
			_, _ = conn.Write(append([]byte{0x81, 39}, `{"t":"bye","code":1012,"retry_ms":1   }`...))
			_, _ = conn.Write([]byte{0x88, 2, 3, 0xf4})
		} else if i == 3 {
			conn.Close()
		}
	}
	for range 4 {
		<-conns
	}
	if err := c.whole(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != 4 || p.told != 3 || len(p.back) != 4 || p.failed != 0 {
		t.Errorf("%d lost, %d told, %d back, %d failed: %v", p.lost, p.told, len(p.back), p.failed, p.closings)
	}
	sources := slices.Compact(slices.Sorted(slices.Values(from[:])))
	if want := []string{"127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"}; !slices.Equal(sources, want) {
		t.Errorf("clients come from %v, want %v", sources, want)
	}
}

// answer lets a client in and sends it rows.
func answer(conn net.Conn, conns chan<- net.Conn) {
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		conn.Close()
		return
	}
	key, err := base64.StdEncoding.DecodeString(req.Header.Get("Sec-WebSocket-Key"))
	if err != nil || len(key) != 16 {
		conn.Close()
		return
	}
	accept := wire.Accept([16]byte(key))
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+accept+"\r\n\r\n")
	text := `{"t":"update","d":[{"s":"A","n":1,"v":1}]}`
	_, _ = conn.Write(append([]byte{0x81, byte(len(text))}, text...))
	conns <- conn
	_, _ = io.Copy(io.Discard, in)
	conn.Close()
}
