// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
)

const secret = "0123456789abcdef0123456789abcdef"

// fake is an edge whose broker takes all, or is away.
type fake struct {
	mu     sync.Mutex
	away   bool
	full   bool
	fate   broker.Fate
	held   []func(broker.Fate)
	got    []broker.Tick
	filter Filter
	bye    Bye
	conns  []Conn
	told   []string // Users.
	text   string
}

func (f *fake) Publish(t broker.Tick, done func(broker.Fate)) error {
	if err := broker.CheckTick(t); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return broker.ErrQueueFull
	}
	t.Value = append([]byte(nil), t.Value...)
	f.got = append(f.got, t)
	if f.away {
		f.held = append(f.held, done)
		return nil
	}
	done(f.fate)
	return nil
}

func (f *fake) Conns(_ context.Context, filter Filter, after string, n int) (all []Conn, _ error) {
	f.filter = filter
	for _, c := range f.conns {
		if c.ID > after && len(all) < n && (filter.Conn == "" || filter.Conn == c.ID) {
			all = append(all, c)
		}
	}
	return all, nil
}

func (f *fake) Disconnect(_ context.Context, filter Filter, bye Bye) (int, error) {
	f.filter, f.bye = filter, bye
	if filter.Conn == "00000000" {
		return 0, nil
	}
	return 2, nil
}

func (f *fake) TellDisconnect(user string, _ Bye) (<-chan struct{}, error) {
	f.told = append(f.told, user)
	told := make(chan struct{})
	if !f.away {
		close(told)
	}
	return told, nil
}

func (f *fake) Announce(_ context.Context, filter Filter, text string) (sent, skipped int, err error) {
	if f.filter, f.text = filter, text; filter.Conn == "00000000" {
		return 0, 0, nil
	}
	return 3, 1, nil
}

func (f *fake) TellAnnounce(user, text string) (<-chan struct{}, error) {
	return f.TellDisconnect(user+"/"+text, Bye{})
}

func (f *fake) Topics(string, int) ([]Topic, int) { return []Topic{{"A", 2}}, 1 }

// desk is a port that is served, with a key of bob's.
type desk struct {
	*Port
	*testing.T
	edge *fake
	log  *logtest.Log
}

func serve(t *testing.T) *desk {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("# keys\nbob:"+secret+"\namy:"+strings.Repeat("k", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, said := logtest.New(t)
	p, err := Listen(Config{Addr: "127.0.0.1:0", KeyFile: file}, log)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{p, t, &fake{}, said}
	p.Serve(d.edge)
	t.Cleanup(p.Close)
	return d
}

func (d *desk) do(method, path, kind, body string, head ...string) (*http.Response, string) {
	d.Helper()
	req, err := http.NewRequest(method, "http://"+d.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
		if head[i] == "Host" {
			req.Host = head[i+1]
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		d.Fatal(err)
	}
	return res, string(text)
}

func TestPublishOne(t *testing.T) {
	d := serve(t)
	const kind = "application/json"
	for _, c := range []struct {
		kind, body string
		code       int
		has        string
	}{
		{kind, `{"topic":"A","value":{"p":1},"ver":7}`, 200, `{"topic":"A","ver":7,"result":"taken"}`},
		{kind, `{"topic":"A","value":{"p":1,"ver":9}}`, 200, `"ver":9,"result":"taken"`},
		{kind + "; charset=utf-8", `{"topic":"A","value":null}`, 200, `"result":"taken"`},
		{kind, `{"topic":"A","value":{"ver":9},"ver":8}`, 422, `another version`},
		{kind, `{"topic":"A B","value":{}}`, 422, `topic is not valid`},
		{kind, `{"topic":"tickedge:control","value":{}}`, 422, `those of the edges`},
		{kind, `{"topic":"A"}`, 422, `want one JSON object`},
		{kind, `{"topic":"A","value":{},"price":1}`, 422, `want one JSON object`},
		{kind, `{"topic":"A","value":{},"ver":0}`, 422, `above 0`},
		{kind, `{"topic":"A","value":17}`, 422, `only an object`},
		{kind, `{"topic":"A","value":"` + strings.Repeat("x", lineMax) + `"}`, 413, "8192"},
		{"text/plain", `{}`, 415, "x-ndjson"},
		{"", `{}`, 415, "x-ndjson"},
	} {
		res, body := d.do("POST", "/publish", c.kind, c.body)
		if res.StatusCode != c.code || !strings.Contains(body, c.has) {
			t.Errorf("%.60s: %d %s, want %d %s", c.body, res.StatusCode, body, c.code, c.has)
		}
		if c.code != 200 && res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.60s: %v", c.body, res.Header)
		}
	}
	if len(d.edge.got) != 3 || d.edge.got[2].Ver < time.Now().Add(-time.Hour).UnixMicro() {
		t.Errorf("%+v", d.edge.got)
	}
	if n := d.log.Count("msg=audit who=bob"); n != 13 {
		t.Errorf("%d lines in the audit", n)
	}
	if d.log.Count(secret) != 0 || d.log.Count(`"p":1`) != 0 {
		t.Error("a key or a value is in the log")
	}
}

// A broker that is away is told after a time, and the value stays on its way.
func TestPublishToABrokerThatIsAway(t *testing.T) {
	d := serve(t)
	d.wait = 10 * time.Millisecond
	d.edge.away = true
	if res, body := d.do("POST", "/publish", "application/json", `{"topic":"A","value":{"p":1}}`); res.StatusCode != 202 || !strings.Contains(body, `"waiting"`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if _, body := d.do("POST", "/publish", "application/x-ndjson", "{\"topic\":\"A\",\"value\":{\"p\":1}}\n{\"topic\":\"B B\",\"value\":1}\n"); strings.Count(body, `"waiting"`) != 1 || strings.Count(body, `"invalid"`) != 1 {
		t.Errorf("%s", body)
	}
	for _, done := range d.edge.held {
		done(broker.Taken) // Nobody waits for it any more.
	}
	d.edge.full = true
	if res, body := d.do("POST", "/publish", "application/json", `{"topic":"A","value":{"p":1}}`); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if _, body := d.do("POST", "/publish", "application/x-ndjson", `{"topic":"A","value":{"p":1}}`); !strings.Contains(body, `"result":"refused"`) {
		t.Errorf("%s", body)
	}
}

// Lines are answered in their order, each for itself, whatever is wrong with another.
func TestPublishLines(t *testing.T) {
	d := serve(t)
	body := `{"topic":"A","value":{"p":1},"ver":1}` + "\r\n\n" +
		"{nonsense\n" +
		`{"topic":"B","value":{"p":"` + strings.Repeat("x", 3*streamBuffer) + `"}}` + "\n" +
		"\xff\xfe\n" +
		`{"topic":"C","value":null,"ver":3}`
	_, got := d.do("POST", "/publish", "application/x-ndjson", body)
	want := []string{`{"topic":"A","ver":1,"result":"taken"}`, `{"result":"invalid",`, `{"result":"invalid","error":"it is longer than 8192 bytes"}`,
		`{"result":"invalid",`, `{"topic":"C","ver":3,"result":"taken"}`}
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%q", lines)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) || !json.Valid([]byte(lines[i])) {
			t.Errorf("%s, want %s", lines[i], w)
		}
	}
	if d.log.Count("taken=2 invalid=3") != 1 {
		t.Error("the audit does not count lines")
	}
}

// Who publishes a stream hears of each line before he sends the next, and hears the end of the port.
func TestPublishLinesAsTheyCome(t *testing.T) {
	d := serve(t)
	conn, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "POST /publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: bearer %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", secret)
	send := func(line string) { fmt.Fprintf(conn, "%x\r\n%s\n\r\n", len(line)+1, line) }
	send(`{"topic":"A","value":{},"ver":1}`)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(res.Body)
	for i := 1; i < 4; i++ {
		line, err := out.ReadString('\n')
		if want := fmt.Sprintf(`{"topic":"A","ver":%d,"result":"taken"}`+"\n", i); line != want || err != nil {
			t.Fatalf("%q %v, want %q", line, err, want)
		}
		send(fmt.Sprintf(`{"topic":"A","value":{},"ver":%d}`, i+1))
	}
	go d.Close()
	if _, err := io.ReadAll(out); err != nil {
		t.Errorf("the stream was cut off: %v", err)
	}
}

func TestConnsUsersAndTopics(t *testing.T) {
	d := serve(t)
	d.edge.conns = []Conn{{ID: "00000001"}, {ID: "00000002", User: "u"}, {ID: "00000003"}}
	for _, c := range []struct {
		method, path string
		code         int
		has          string
	}{
		{"GET", "/conns?limit=2", 200, `"next":"00000002"`},
		{"GET", "/conns?limit=2&cursor=00000002", 200, `"conns":[{"id":"00000003"`},
		{"GET", "/conns?limit=0", 400, "limit from 1"},
		{"GET", "/conns?usr=a", 400, "no other"},
		{"GET", "/conns?address=1.2.3.4:5", 400, "without a port"},
		{"GET", "/conns/00000002", 200, `"user":"u"`},
		{"GET", "/conns/00000009", 404, "no such"},
		{"GET", "/conns/xyz", 404, "8 hex digits"},
		{"DELETE", "/conns/00000001?code=4001&reason=off&retry_ms=500", 200, `"disconnected":2`},
		{"DELETE", "/conns/00000000", 404, "no such"},
		{"DELETE", "/users/a%2Fb?code=1000", 400, "4000 to 4499"},
		{"DELETE", "/users/a%2Fb?reason=" + strings.Repeat("x", 101), 400, "100 bytes"},
		{"DELETE", "/users/a%2Fb", 200, `"scope":"all edges"`},
		{"GET", "/topics?prefix=A", 200, `{"topic":"A","subscribers":2}`},
		{"GET", "/nothing", 404, "/publish"},
		{"GET", "/publish", 405, "Allow"},
	} {
		res, body := d.do(c.method, c.path, "", "")
		if res.StatusCode != c.code || !strings.Contains(body, c.has) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, res.StatusCode, body, c.code, c.has)
		}
		if c.code == 405 && res.Header.Get("Allow") != "POST" {
			t.Errorf("%v", res.Header)
		}
		if c.path == "/conns/00000001?code=4001&reason=off&retry_ms=500" && d.edge.bye != (Bye{4001, "off", 500}) {
			t.Errorf("%+v", d.edge.bye)
		}
	}
	if d.edge.filter.User != "a/b" {
		t.Errorf("%+v", d.edge.filter)
	}
	if n := d.Requests()[Count{"/conns/{id}", 404}]; n != 3 {
		t.Errorf("%d were counted: %v", n, d.Requests())
	}
}

// Nobody calls without a key, and of wrong ones not many are looked at.
func TestCallers(t *testing.T) {
	d := serve(t)
	ask := func(head ...string) (*http.Response, string) { return d.do("GET", "/topics", "", "", head...) }
	if res, body := ask("Host", "evil.example"); res.StatusCode != 421 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, body := ask("Origin", "http://"+d.Addr().String()); res.StatusCode != 403 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ := ask("Authorization", "Bearer "+strings.Repeat("k", 40)); res.StatusCode != 200 || d.log.Count("who=amy") != 1 {
		t.Errorf("%d", res.StatusCode)
	}
	const wrong = "wrong-wrong-wrong-wrong-wrong-wrong"
	limited := false
	for i := 0; i < 100 && !limited; i++ {
		res, _ := ask("Authorization", []string{"Bearer " + wrong, "Basic " + secret, "", "Bearer", "Bearer " + secret[:31]}[i%5])
		switch res.StatusCode {
		case 401:
			if !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer realm=") {
				t.Errorf("%v", res.Header)
			}
		case 429:
			limited = i >= wrongRate.Burst && res.Header.Get("Retry-After") != ""
		default:
			t.Errorf("%d", res.StatusCode)
		}
	}
	if !limited || d.log.Count(wrong) != 0 || d.log.Count(secret) != 0 || len(d.edge.got) != 0 {
		t.Error("wrong keys have no limit, or are shown")
	}
	if res, _ := ask("Authorization", "Bearer "+strings.Repeat("k", 40)); res.StatusCode != 200 {
		t.Errorf("behind wrong keys of the same address: %d", res.StatusCode)
	}
}

func TestConfigsThatCanNotBe(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, fmt.Sprintf("%x", len(text)))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := "a:" + secret + "\n"
	for says, c := range map[string]Config{
		"want -api-key-file": {Addr: "127.0.0.1:1"},
		"line 1: want a key": {Addr: "127.0.0.1:1", KeyFile: file("a:" + secret[:31])},
		"line 2: the name":   {Addr: "127.0.0.1:1", KeyFile: file(good + "b:" + secret)},
		"line 1: want name":  {Addr: "127.0.0.1:1", KeyFile: file(secret)},
		"has 0 keys":         {Addr: "127.0.0.1:1", KeyFile: file("#\n")},
		"not loopback":       {Addr: ":1", KeyFile: file(good)},
		"want both":          {Addr: ":1", KeyFile: file(good), TLSCert: "/no/such"},
		"need TLS":           {Addr: "127.0.0.1:1", ClientCA: "/no/such"},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), secret[:31]) {
			t.Errorf("%v, want %s", err, says)
		}
	}
	if c := (Config{Addr: "localhost:1", KeyFile: file(good)}); c.Validate() != nil {
		t.Error(c.Validate())
	}
}

// BenchmarkPublishLines is what a line costs, of a stream over loopback to a broker that takes all at once.
func BenchmarkPublishLines(b *testing.B) {
	p := &Port{Service: newService(new(access), nil)}
	p.edge = &taking{}
	line := `{"topic":"AAPL","value":{"bid":189.87,"ask":189.89,"ts":1722441600000}}` + "\n"
	in, o := lines{bufio.NewReaderSize(strings.NewReader(strings.Repeat(line, b.N)), streamBuffer)}, new(Order)
	var out []byte
	b.ReportAllocs()
	for n := 0; n < b.N; {
		batch, _ := p.readBatch(in, o)
		results := batch.Await(context.Background())
		out = out[:0]
		for i := range results {
			out = results[i].append(out)
		}
		n += len(results)
	}
}

type taking struct{ fake }

func (*taking) Publish(t broker.Tick, done func(broker.Fate)) error { done(broker.Taken); return nil }
