// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	gosse "github.com/tmaxmax/go-sse"

	"tickedge/internal/broker/redis/redistest"
)

// events reads a stream: each call returns the next event, and fails the test if none comes.
type events func() event

// of is how a reader is opened.
type of func(t *testing.T, url string) events

// want reads up to an event of a kind, and passes over news of feeds, and rows that come twice.
func (next events) want(t *testing.T, kind, value string) {
	t.Helper()
	for {
		e := next()
		received(t, []byte(e.Data))
		var m message
		if err := json.Unmarshal([]byte(e.Data), &m); err != nil {
			t.Fatalf("%q: %v", e.Data, err)
		}
		switch {
		case m.T != e.Type:
			t.Fatalf("event %s has %s", e.Type, e.Data)
		case m.T == "feed", m.T == kind && kind == "update" && string(m.D[0].V) != value && m.D[0].N < 2:
			continue
		case m.T != kind:
			t.Fatalf("got %s, want %s", e.Data, kind)
		case value != "" && (len(m.D) != 1 || string(m.D[0].V) != value):
			t.Fatalf("got %q, want the value %q", e.Data, value)
		}
		return
	}
}

// oddValue is a value that readers may trip over, and what of it arrives.
func oddValue(p int) (sent, arrives string) {
	sent = fmt.Sprintf("{\"p\":%d,\r\n\t\"name\":\r\"币安 \u2028\u0085\ufeff\\n\\n\"\n}", p)
	return sent, strings.NewReplacer("\r", " ", "\n", " ").Replace(sent)
}

// follows reads a topic of an edge at addr: what was there, and two ticks, each of which is published when what was before it
// has been read: so nothing of the stream may be held back on its way.
func (open of) follows(t *testing.T, redis *redisServer, addr, topic string) events {
	t.Helper()
	sent, arrives := oddValue(0)
	redis.Do("SET", "price:"+topic, sent)
	next := open(t, "http://"+addr+"/sse?interval=100&topics="+url.QueryEscape(topic))
	next.want(t, "hello", "")
	next.want(t, "ack", "")
	next.want(t, "snapshot", arrives)
	for p := 1; p <= 2; p++ {
		sent, arrives := oddValue(p)
		published := time.Now()
		redis.Do("PUBLISH", "channel:prices:"+topic, sent)
		next.want(t, "update", arrives)
		t.Logf("tick %d came after %v", p, time.Since(published).Round(time.Millisecond))
	}
	return next
}

// parsed reads by a library that is not ours.
func parsed(t *testing.T, r io.Reader) events {
	next, stop := iter.Pull2(gosse.Read(r, &gosse.ReadConfig{MaxEventSize: 1 << 20}))
	t.Cleanup(stop)
	return func() event {
		t.Helper()
		e, err, ok := next()
		if err != nil || !ok {
			t.Fatalf("the stream has ended: %v", err)
		}
		return event{e.Type, e.Data, e.LastEventID}
	}
}

// printed reads what a program prints, a line of JSON for each event.
func printed(t *testing.T, r io.Reader) events {
	lines := bufio.NewReader(r)
	return func() (e event) {
		t.Helper()
		line, err := lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return e
	}
}

// byProgram starts one with the URL behind its arguments.
func byProgram(read func(*testing.T, io.Reader) events, args ...string) of {
	return func(t *testing.T, url string) events {
		t.Helper()
		if _, err := exec.LookPath(args[0]); err != nil {
			t.Fatalf("%s is missing: make deps", args[0])
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		cmd := exec.CommandContext(ctx, args[0], append(args[1:len(args):len(args)], url)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			cancel()
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cancel()
			_ = cmd.Wait() // It was killed.
			if t.Failed() {
				t.Logf("%s said:\n%s", args[0], &stderr)
			}
		})
		return read(t, out)
	}
}

// inGo reads lines of a response, as programs do that have no library for it.
func inGo(t *testing.T, url string) events {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	return func() (e event) {
		t.Helper()
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				e.Type = value
			case "data":
				e.Data = value
			case "":
				if e.Data != "" {
					return e
				}
			}
		}
		t.Fatalf("the stream has ended: %v", lines.Err())
		return e
	}
}

// inChromium reads in a page of another origin, with credentials.
func inChromium(page string) of {
	return func(t *testing.T, url string) events {
		t.Helper()
		ctx := openBrowser(t)
		if err := chromedp.Do(ctx, chromedp.Navigate(page)); err != nil {
			t.Fatal(err)
		}
		value(t, ctx, fmt.Sprintf(`(() => {
			window.got = [];
			window.es = new EventSource(%q, {withCredentials: true});
			for (const kind of ['message', 'hello', 'ack', 'snapshot', 'update', 'feed', 'heartbeat', 'bye'])
				es.addEventListener(kind, (e) => got.push(JSON.stringify({type: e.type, data: e.data, id: e.lastEventId})));
			es.onerror = () => { es.close(); got.push('{"type":"error","data":"{\"t\":\"error\",\"code\":' + es.readyState + '}"}'); };
		})()`, url))
		return func() (e event) {
			t.Helper()
			var line string
			redistest.Eventually(t, "an event", func() bool { line = value(t, ctx, `got.shift() ?? ''`); return line != "" })
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return e
		}
	}
}

// blankPages serves pages without anything, and returns their address, which is their origin.
func blankPages(t *testing.T) string {
	return eventServer(t, nil).URL
}

// Whoever reads events reads ours as they are published, without a library: from a real edge and a real Redis.
func TestEventStreamReaders(t *testing.T) {
	t.Parallel()
	redis, page := startRedis(t), blankPages(t)
	e := start(t, "-redis", redis.URL(), "-origin", page)
	for name, open := range map[string]of{
		"curl":     byProgram(parsed, "curl", "-sSN"),
		"curl-1.0": byProgram(parsed, "curl", "-sSN0"),
		"python":   byProgram(printed, "/usr/bin/python3", "testdata/events.py"),
		"node":     byProgram(printed, "node", "testdata/events.mjs"),
		"go":       inGo,
		"chromium": inChromium(page),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open.follows(t, redis, e.addr, "币安:"+name)
		})
	}
}

// HEAD is answered with the head of a stream and no more.
func TestEventStreamHead(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-demo-symbols", "AAPL")
	for _, args := range [][]string{{"-sSI"}, {"-sSI0"}} {
		out, err := exec.Command("curl", append(args, "--max-time", fmt.Sprint(int(patience.Seconds())), "http://"+e.addr+"/sse?topics=AAPL")...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		for _, want := range []string{"HTTP/1.1 200 OK\r\n", "Content-Type: text/event-stream", "X-Accel-Buffering: no\r\n", "Cache-Control: no-store\r\n"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("curl %v: no %q in %q", args, want, out)
			}
		}
		if _, body, _ := strings.Cut(string(out), "\r\n\r\n"); body != "" {
			t.Errorf("curl %v: body %q", args, body)
		}
	}
	if n := e.metric(`edge_connections_opened_total{transport="sse"}`); n != "0" {
		t.Errorf("%s streams were opened", n)
	}
}

// A script of a page of another origin asks first (OPTIONS), and reads then; where the edge does not know the page it
// does neither, and its EventSource is refused for good.
func TestEventStreamOfOtherOrigins(t *testing.T) {
	t.Parallel()
	page, stranger := blankPages(t), blankPages(t)
	e := start(t, "-demo", "-demo-symbols", "AAPL", "-origin", page)
	ctx := openBrowser(t)
	script := fmt.Sprintf(`(async () => {
		const url = %q;
		const opened = await new Promise((done) => {
			const es = new EventSource(url, {withCredentials: true});
			es.onerror = () => { es.close(); done('refused'); };
			es.onmessage = es.onerror;
			es.addEventListener('hello', () => { es.close(); done('hello'); });
		});
		try {
			const stop = new AbortController();
			const r = await fetch(url, {credentials: 'include', signal: stop.signal, headers: {Authorization: 'Bearer x', 'Last-Event-ID': 'x'}});
			const {value} = await r.body.getReader().read();
			stop.abort();
			return [opened, r.type, r.status, r.headers.get('Content-Type'), new TextDecoder().decode(value).startsWith('retry: ')].join(' ');
		} catch (err) { return opened + ' ' + err.name; }
	})()`, "http://"+e.addr+"/sse?topics=AAPL")
	for origin, want := range map[string]string{page: "hello cors 200 text/event-stream true", stranger: "refused TypeError"} {
		if err := chromedp.Do(ctx, chromedp.Navigate(origin)); err != nil {
			t.Fatal(err)
		}
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
		if err != nil || got != want {
			t.Errorf("got %q, want %q: %v", got, want, err)
		}
	}
}
