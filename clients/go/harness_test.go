// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

// patience bounds every wait. It is only reached when a test fails.
const patience = time.Minute

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(filepath.Dir(built))
	}
	os.Exit(code)
}

var built string

// binary is the edge of this repository, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "edge")
	if err != nil {
		return "", err
	}
	built = filepath.Join(dir, "edge")
	build := exec.Command("go", "build", "-o", built, "./cmd/edge")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return built, nil
})

// edge is a running edge with a simulated market.
type edge struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
	done chan struct{}
}

// startEdge runs one at an address, such as 127.0.0.1:0, and waits until it listens.
func startEdge(t *testing.T, addr string, args ...string) *edge {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{t: t, done: make(chan struct{})}
	e.cmd = exec.Command(path, append([]string{"-demo", "-listen", addr, "-admin", "127.0.0.1:0", "-log-format", "json", "-drain", "100ms"}, args...)...)
	pipe, err := e.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan string, 1)
	go func() {
		defer close(e.done)
		lines := bufio.NewReader(pipe)
		var log strings.Builder
		listens := false
		for {
			text, err := lines.ReadBytes('\n')
			log.Write(text)
			var line struct{ Msg, Addr string }
			if json.Unmarshal(text, &line) == nil && line.Msg == "listening" {
				listening <- line.Addr
				listens = true
			}
			if err != nil {
				break
			}
		}
		_ = e.cmd.Wait()
		if !listens {
			listening <- log.String() + "{"
		}
	}()
	t.Cleanup(func() {
		_ = e.cmd.Process.Signal(sigcont)
		e.kill()
	})
	select {
	case e.addr = <-listening:
		if strings.Contains(e.addr, "{") {
			t.Fatalf("the edge does not listen:\n%s", e.addr)
		}
	case <-time.After(patience):
		t.Fatal("the edge does not listen")
	}
	return e
}

func (e *edge) kill() {
	_ = e.cmd.Process.Kill()
	<-e.done
}

func (e *edge) signal(s os.Signal) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.t.Fatal(err)
	}
}

// leaks fails the test if a goroutine is left when all else of it has ended. It is called first.
func leaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// quick makes a client that comes back fast, closed with the test.
func quick(t *testing.T, url string, o Options) *Client {
	t.Helper()
	if o.MinBackoff == 0 {
		o.MinBackoff, o.MaxBackoff = 20*time.Millisecond, 100*time.Millisecond
	}
	c := New(url, o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func subscribe(t *testing.T, c *Client, topics ...string) *Subscription {
	t.Helper()
	s, err := c.Subscribe(context.Background(), topics...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// next takes updates until one fulfils what is wanted, and returns it.
func next(t *testing.T, s *Subscription, what string, want func(Update) bool) Update {
	t.Helper()
	return until(t, s.Next, what, want)
}

// until is next of a subscription or a screen.
func until[U any](t *testing.T, next func(context.Context) (U, error), what string, want func(U) bool) U {
	t.Helper()
	var last U
	ctx := within(t)
	for {
		u, err := next(ctx)
		if err != nil {
			t.Fatalf("awaiting %s: %v; the last update is %+v", what, err, last)
		}
		if last = u; want(u) {
			return u
		}
	}
}

// everyone takes updates until those of all the topics fulfil what is wanted.
func everyone(t *testing.T, s *Subscription, what string, want func(Update) bool, topics ...string) map[string]Update {
	t.Helper()
	last := make(map[string]Update)
	next(t, s, what, func(u Update) bool {
		last[u.Topic] = u
		for _, name := range topics {
			if u, ok := last[name]; !ok || !want(u) {
				return false
			}
		}
		return true
	})
	return last
}

func live(u Update) bool { return u.State == Live && u.Value != nil }

// standin is an edge that says what a test wants.
type standin struct {
	t     *testing.T
	url   string
	peers chan *peer
}

// peer is one connection of a client.
type peer struct {
	t      *testing.T
	ws     *websocket.Conn
	query  string
	header http.Header
	ended  chan struct{}
}

func newStandin(t *testing.T) *standin {
	t.Helper()
	s := &standin{t: t, peers: make(chan *peer)}
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		ws.SetReadLimit(20 << 10)
		p := &peer{t: t, ws: ws, query: r.URL.RawQuery, header: r.Header, ended: make(chan struct{})}
		select {
		case s.peers <- p:
			select {
			case <-p.ended:
			case <-stop:
			}
		case <-stop:
		}
		_ = ws.CloseNow()
	}))
	s.url = "ws" + strings.TrimPrefix(server.URL, "http")
	t.Cleanup(func() {
		close(stop)
		server.Close()
	})
	return s
}

// accept awaits the next connection and greets it.
func (s *standin) accept() *peer {
	s.t.Helper()
	return s.greet(`{"t":"hello","v":1,"conn":"1","interval":500,"heartbeat":20000,"max_topics":256}`)
}

func (s *standin) greet(hello string) *peer {
	s.t.Helper()
	select {
	case p := <-s.peers:
		p.say("%s", hello)
		return p
	case <-time.After(patience):
		s.t.Fatal("nobody connects")
		return nil
	}
}

func (p *peer) say(format string, args ...any) {
	p.t.Helper()
	if err := p.ws.Write(within(p.t), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		p.t.Fatal(err)
	}
}

// hear returns the next command.
func (p *peer) hear() (cmd command) {
	p.t.Helper()
	_, payload, err := p.ws.Read(within(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &cmd); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

// ack answers a subscribe with no topic rejected.
func (p *peer) ack(cmd command, more string) {
	p.t.Helper()
	p.say(`{"t":"ack","id":%d,"op":"%s","topics":%d%s}`, cmd.ID, cmd.Op, len(cmd.Topics), more)
}

func (p *peer) rows(kind string, rows ...string) {
	p.t.Helper()
	p.say(`{"t":"%s","ts":1732181723500,"d":[%s]}`, kind, strings.Join(rows, ","))
}

// close ends the connection with a code.
func (p *peer) close(code int, reason string) {
	_ = p.ws.Close(websocket.StatusCode(code), reason)
	close(p.ended)
}
