// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/chromedp/chromedp"
	gosse "github.com/tmaxmax/go-sse"

	"tickedge/internal/broker"
	"tickedge/internal/protocol"
	"tickedge/internal/sse"
)

// event is what a reader makes of a stream, as a browser has it: one without a name is a message.
type event struct {
	Type string `json:"type"`
	Data string `json:"data"`
	ID   string `json:"id"`
}

// oddValues are values as the feed passes them on, with all that a reader of lines might trip over. They are
// written with escapes of Go where a byte is meant, and raw where JSON has the escape.
var oddValues = []string{
	`{"p":189.9}`,
	"{\r\n\t\"p\":\n189.9,\r\"q\" :[ \r\n\r\n]}",
	"\n\n7\r\r\n",
	"\r\"\"\n\n",
	`"\u2028 \u2029 \u0085 \u0000 \r\n\n"`,
	"\"\u2028 \u2029 \u0085 \u007f\"",
	"\"\ufeffa byte order mark\"",
	"\"\ufeff\"",
	`"data: 1\n\nevent: bye\ndata: {\"t\":\"bye\"}\n\n"`,
	`": id: 1"`,
	`{"t":"bye","s":"币安人生 😀"}`,
	` null `,
}

// oddPayloads are messages of all kinds that a stream may have.
func oddPayloads(t *testing.T) (all []string) {
	t.Helper()
	add := func(payload []byte) { all = append(all, string(payload)) }
	const reason = "a\r\nb\n\ndata: c\x00\xff\u2028"
	rejected := []protocol.Rejected{{Topic: "", Code: 422, Reason: ""}}
	for i, name := range []string{
		"a b", "a\r\nb\n\nevent: c", "\x00", "\xff\xfe", "\u2028\u0085", "\ufeffA", `"\`, ": A", "币 安", strings.Repeat("长", 400),
	} {
		rejected = append(rejected, protocol.Rejected{Topic: name, Index: i + 1, Code: 422, Reason: reason})
	}
	names := func(payload []byte) []byte {
		for _, name := range []string{"币安人生USDT", "M&M.NS", ":", "data:"} {
			payload = protocol.AppendName(payload, name)
		}
		return payload
	}
	add(protocol.AppendHello(nil, 0x7f3a91c2, 500, 20000, 256))
	ack := protocol.Ack{Op: protocol.OpSubscribe, Topics: 2, Rejected: rejected, MaxTopics: 256}
	add(ack.Append(nil))
	feed := protocol.Feed{Since: 1732181744000, Topics: "币:*,\u2028*"}
	add(feed.Append(nil))
	for i, head := range [][]byte{protocol.AppendSnapshotHead(nil, 1732181723500), protocol.AppendUpdateHead(nil, 1732181724000)} {
		for j, v := range oddValues {
			if flaw := broker.Inspect(v); flaw != broker.Flawless {
				t.Fatalf("the feed passes %q not on: %v", v, flaw)
			}
			if j > 0 {
				head = append(head, ',')
			}
			head = fmt.Appendf(head, `{"s":"币安人生USDT","n":%d,"v":%s}`, i, v)
		}
		add(append(head, protocol.RowsEnd...))
	}
	add(protocol.AppendInterval(nil, 1000, "slow"))
	add(append(names(protocol.AppendStaleHead(nil, 1732181755000, 0, "")), protocol.NamesEnd...))
	add(append(names(protocol.AppendStaleHead(nil, 1732181755000, 403, reason)), protocol.NamesEnd...))
	add(protocol.AppendUnsubscribedEnd(names([]byte(protocol.UnsubscribedHead)), reason))
	heartbeat := protocol.Heartbeat{Now: 1732181744000, FeedUp: true, Tick: 1732181743000, Lag: 2}
	add(heartbeat.Append(nil))
	add(protocol.AppendBye(nil, 1012, reason, 420))
	return all
}

// framed is a stream of payloads with comments and retries between them, and what is to be read of it.
func framed(t *testing.T, payloads []string, plain bool) (stream []byte, want []event) {
	t.Helper()
	stream = sse.AppendRetry(nil, 1500)
	for _, payload := range payloads {
		start := len(stream)
		stream = sse.End(append(sse.Begin(stream), payload...), start, plain)
		stream = sse.AppendRetry(sse.AppendComment(stream), 420)
		var m struct{ T string }
		if err := json.Unmarshal([]byte(payload), &m); err != nil {
			t.Fatalf("%q: %v", payload, err)
		}
		if plain {
			m.T = "message"
		}
		e := event{Type: m.T, Data: strings.NewReplacer("\r", " ", "\n", " ").Replace(payload)}
		var was, is any
		if json.Unmarshal([]byte(payload), &was) != nil || json.Unmarshal([]byte(e.Data), &is) != nil || !reflect.DeepEqual(was, is) {
			t.Fatalf("%q means something else than %q", e.Data, payload)
		}
		want = append(want, e)
	}
	return stream, want
}

// goReads is what a library that is not ours makes of a stream, read with the cut given, or byte by byte if that is negative.
func goReads(t *testing.T, stream string, cut int) []event {
	t.Helper()
	r := iotest.OneByteReader(strings.NewReader(stream))
	if cut >= 0 {
		r = &cutReader{[]string{stream[:cut], stream[cut:]}}
	}
	got := []event{}
	for e, err := range gosse.Read(r, &gosse.ReadConfig{MaxEventSize: 1 << 20}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == "" {
			e.Type = "message" // It leaves that to its caller.
		}
		got = append(got, event{e.Type, e.Data, e.LastEventID})
	}
	return got
}

// cutReader returns a part of each read.
type cutReader struct{ parts []string }

func (r *cutReader) Read(p []byte) (int, error) {
	for len(r.parts) > 0 && r.parts[0] == "" {
		r.parts = r.parts[1:]
	}
	if len(r.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.parts[0])
	r.parts[0] = r.parts[0][n:]
	return n, nil
}

// A library reads all that a stream may have, however it comes.
func TestEventsInGo(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		stream, want := framed(t, oddPayloads(t), plain)
		for cut := -1; cut <= len(stream); cut++ {
			if got := goReads(t, string(stream), cut); !reflect.DeepEqual(got, want) {
				t.Fatalf("plain %v, cut at %d: got %q\nwant %q", plain, cut, got, want)
			}
		}
	}
}

// trap is a stream that readers get wrong.
type trap struct {
	Name   string
	Stream string
	Base64 string // In place of Stream, if that can't have it.
	Events []event
	GoSSE  string `json:"go_sse"` // What is known to be different there.
}

func traps(t *testing.T) (all []trap) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "events.json"))
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if all[i].Base64 == "" {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(all[i].Base64)
		if err != nil {
			t.Fatal(err)
		}
		all[i].Stream = string(raw)
	}
	return all
}

// The library that the other tests read with knows the HTML Standard, but for what is noted.
func TestEventTrapsInGo(t *testing.T) {
	t.Parallel()
	for _, c := range traps(t) {
		for cut := -1; cut <= len(c.Stream); cut++ {
			if got := goReads(t, c.Stream, cut); reflect.DeepEqual(got, c.Events) == (c.GoSSE != "") {
				t.Errorf("%s, cut at %d: got %q, want %q; known is %q", c.Name, cut, got, c.Events, c.GoSSE)
			}
		}
	}
}

// eventServer serves streams to a browser, from byte cut on a moment later, or each byte alone if that is negative.
func eventServer(t *testing.T, streams map[string]string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream, ok := streams[r.FormValue("stream")]
		if !ok {
			w.Header().Set("Content-Type", "text/html")
			return
		}
		kind := "text/event-stream"
		if r.Form.Has("type") {
			kind = r.FormValue("type")
		}
		w.Header().Set("Content-Type", kind)
		cut := 0
		_, _ = fmt.Sscan(r.FormValue("cut"), &cut)
		flusher := w.(http.Flusher)
		write := func(s string) {
			_, _ = w.Write([]byte(s)) // Who is gone reads no more.
			flusher.Flush()
		}
		if cut < 0 {
			for i := range len(stream) {
				write(stream[i : i+1])
			}
			return
		}
		write(stream[:cut])
		if cut > 0 {
			select { // So that it comes in two reads, most often.
			case <-r.Context().Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
		write(stream[cut:])
	}))
	t.Cleanup(s.Close)
	return s
}

// readInPage defines read(url), which resolves to what an EventSource dispatches of a stream up to its end, and
// all(urls), which is the same of many, of which a browser reads six at a time.
const readInPage = `
window.kinds = ['message', 'hello', 'ack', 'snapshot', 'update', 'heartbeat', 'feed', 'stale', 'unsubscribed', 'interval', 'bye', 'add', 'a b ', '币安'];
window.read = (url) => new Promise((done) => {
	const events = [], es = new EventSource(url);
	let opened = false;
	es.onopen = () => { opened = true; };
	for (const kind of kinds) es.addEventListener(kind, (e) => events.push({type: e.type, data: e.data, id: e.lastEventId}));
	es.onerror = () => { const refused = es.readyState === EventSource.CLOSED; es.close(); done({opened, refused, events}); };
});
window.all = async (urls) => {
	const got = [], lane = async () => { for (let url; url = urls.shift();) got.push({url, ...await read(url)}); };
	await Promise.all([lane(), lane(), lane(), lane(), lane()]);
	return got;
};`

// browserGot is what a page has read of a stream.
type browserGot struct {
	URL             string
	Opened, Refused bool
	Events          []event
}

// browserReads has Chromium read many streams of a server.
func browserReads(t *testing.T, s *httptest.Server, paths []string) []browserGot {
	t.Helper()
	ctx := openBrowser(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.URL+"/")); err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	got, err := chromedp.Run(ctx, chromedp.Evaluate[[]browserGot](readInPage+"\nall("+string(list)+")", chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(paths) {
		t.Fatalf("%d streams were read, want %d", len(got), len(paths))
	}
	return got
}

// Chromium's EventSource reads all that a stream may have, cut at each byte of a short one, and what it makes of traps is
// what is noted as right.
func TestEventsInChromium(t *testing.T) {
	t.Parallel()
	streams, wants := make(map[string]string), make(map[string][]event)
	var paths []string
	add := func(name string, stream []byte, want []event, cuts ...int) {
		streams[name], wants[name] = string(stream), want
		for _, cut := range cuts {
			paths = append(paths, fmt.Sprintf("/?stream=%s&cut=%d", name, cut))
		}
	}
	payloads := oddPayloads(t)
	short := []string{payloads[0], fmt.Sprintf("{\"t\":\"update\",\"d\":[\r\n%s,\"币\u2028\"]}", oddValues[7]), payloads[len(payloads)-2]}
	for name, plain := range map[string]bool{"named": false, "plain": true} {
		stream, want := framed(t, payloads, plain)
		add(name, stream, want, 0, -1)
		stream, want = framed(t, short, plain)
		for cut := range stream {
			add("short-"+name, stream, want, cut)
		}
	}
	for i, c := range traps(t) {
		add(fmt.Sprintf("trap%d", i), []byte(c.Stream), c.Events, 0, len(c.Stream)/2, -1)
	}
	for _, got := range browserReads(t, eventServer(t, streams), paths) {
		name, _, _ := strings.Cut(strings.TrimPrefix(got.URL, "/?stream="), "&")
		if !got.Opened || got.Refused || !reflect.DeepEqual(got.Events, wants[name]) {
			t.Errorf("%s: got %+v\nwant %+v", got.URL, got, wants[name])
		}
	}
}

// Chromium takes the type of a stream with and without a charset, and no other type: so the readers' test would find one.
func TestEventTypesInChromium(t *testing.T) {
	t.Parallel()
	s := eventServer(t, map[string]string{"a": "data: a\n\n"})
	for _, got := range browserReads(t, s, []string{
		"/?stream=a&type=text/event-stream", "/?stream=a&type=text/event-stream;charset=utf-8",
		"/?stream=a&type=text/plain", "/?stream=a&type=application/json", "/?stream=a&type=text/event-streams", "/?stream=a&type=",
	}) {
		_, kind, _ := strings.Cut(got.URL, "type=")
		if takes := kind == "text/event-stream" || strings.HasPrefix(kind, "text/event-stream;"); got.Refused == takes || (len(got.Events) == 1) != takes {
			t.Errorf("%q: %+v", kind, got)
		}
	}
}
