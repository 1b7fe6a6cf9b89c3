// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/contracttest"
	"tickedge/internal/logtest"
)

// patience bounds every wait of these tests. It is only reached when one fails, or on a machine
// that has no time for it.
const patience = redistest.Patience

// binary is the edge under test, built once.
var binary string

// roles are what this program is in a process that a test has started, by the variable of the environment that asks for it.
var roles = make(map[string]func(job string) (code int))

// buildFlags are those of the edge that is tested.
var buildFlags = []string{"-ldflags", "-X tickedge/internal/app.version=1.2.3-test -X tickedge/internal/app.commit=" + testCommit}

func TestMain(m *testing.M) {
	for env, play := range roles {
		if job := os.Getenv(env); job != "" {
			os.Exit(play(job))
		}
	}
	flag.Parse()
	runMore()
	os.Exit(testMain(m))
}

// runMore has more tests run at a time than there are processors, unless -parallel says
// how many: they wait for clocks and other processes most of the time.
func runMore() {
	const tests = 6
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given && runtime.GOMAXPROCS(0) < tests {
		flag.Set("test.parallel", strconv.Itoa(tests))
	}
}

// testCommit is what the edge under test takes itself for.
const testCommit = "0123456789abcdef"

// binaryEnv holds the path of the edge in a test process that another one has started.
const binaryEnv = "EDGE_TEST_BINARY"

func testMain(m *testing.M) int {
	defer quitChromium()
	if binary = os.Getenv(binaryEnv); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "edge-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "edge")
	build := exec.Command("go", slices.Concat([]string{"build"}, buildFlags, []string{"-o", binary, "."})...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// edge is a running edge process.
type edge struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string // host:port of clients
	admin  string // host:port of operators
	done   chan struct{}
	code   int // After done.
	stderr logtest.Log
}

// start runs the edge on free ports and waits until it listens.
func start(t *testing.T, args ...string) *edge {
	t.Helper()
	return startBinary(t, binary, args...)
}

// startBinary is start for an edge that was built in another way.
func startBinary(t *testing.T, path string, args ...string) *edge {
	t.Helper()
	e := &edge{t: t, done: make(chan struct{})}
	e.cmd = exec.Command(path, append([]string{
		"-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-log-format", "json",
	}, args...)...)
	e.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	pipe, err := e.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan struct{})
	go func() {
		lines := bufio.NewReader(pipe)
		for {
			text, err := lines.ReadBytes('\n') // However long: who is not read is held up.
			if err != nil {
				break
			}
			_, _ = e.stderr.Write(text)
			var line struct{ Msg, Addr string }
			_ = json.Unmarshal(text, &line) // A race report is no JSON.
			switch line.Msg {
			case "admin port open":
				e.admin = line.Addr
			case "listening":
				e.addr = line.Addr
				close(listening)
			}
		}
		_ = e.cmd.Wait() // The code says it all.
		e.code = e.cmd.ProcessState.ExitCode()
		close(e.done)
	}()
	t.Cleanup(func() {
		select {
		case <-e.done:
		default:
			_ = e.cmd.Process.Kill()
			<-e.done
		}
		if t.Failed() {
			t.Logf("edge said:\n%s", e.stderr.String())
		}
	})
	select {
	case <-listening:
	case <-e.done:
		t.Fatalf("edge ended with code %d:\n%s", e.code, e.stderr.String())
	case <-time.After(patience):
		t.Fatal("edge does not listen")
	}
	return e
}

// stop sends SIGTERM and returns the exit code.
func (e *edge) stop() int {
	e.t.Helper()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		e.t.Fatal(err)
	}
	select {
	case <-e.done:
	case <-time.After(patience):
		e.t.Fatal("edge does not stop")
	}
	return e.code
}

// get reads a path of the admin port.
func (e *edge) get(path string) (status int, body string) {
	e.t.Helper()
	client := http.Client{Timeout: patience}
	resp, err := client.Get("http://" + e.admin + path)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// metric returns the value of one line of /metrics, as it stands there.
func (e *edge) metric(name string) string {
	e.t.Helper()
	_, body := e.get("/metrics")
	for line := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	e.t.Fatalf("no metric %s in:\n%s", name, body)
	return ""
}

// client is a WebSocket client by a library that is not ours.
type client struct {
	t  *testing.T
	ws *websocket.Conn
}

// message is any message of the server.
type message struct {
	T        string
	ID       json.RawMessage
	Op       string
	Topics   json.RawMessage
	Code     int
	Reason   string
	RetryMS  int `json:"retry_ms"`
	Text     string
	State    string
	Since    int64
	Rejected []struct {
		Topic string
		Code  int
	}
	D []struct {
		S string
		N uint64
		V json.RawMessage
	}

	Screen     string
	Full, More bool
	Out, Order []string
	At         int
	Screens    json.RawMessage
}

func (e *edge) dial(query string) *client {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+e.addr+"/ws"+query, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	ws.SetReadLimit(4 << 20)
	e.t.Cleanup(func() { ws.CloseNow() })
	return &client{e.t, ws}
}

func (c *client) send(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() (message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, b, err := c.ws.Read(ctx)
	if err != nil {
		return message{}, err
	}
	received(c.t, b)
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		c.t.Fatalf("not JSON: %q", b)
	}
	return m, nil
}

// checked counts the payloads by how they begin, which is their kind: to look at all of a test that loads an edge would take
// more time than its clients have.
var checked sync.Map

const checkedMost = 100

// received holds a payload against the published schemas, one of the first of its kind. Any goroutine of a test may call it.
func received(t *testing.T, payload []byte) {
	t.Helper()
	kind := payload[:min(len(payload), len(`{"t":"snapshot"`))]
	n, _ := checked.LoadOrStore(string(kind), new(atomic.Int64))
	if n.(*atomic.Int64).Add(1) > checkedMost {
		return
	}
	if _, err := contracttest.Received(payload); err != nil {
		t.Error(err)
	}
}

// next reads a message and demands its type. The news of feeds, which depends on when the
// edge got to its Redis, is passed over where it is not wanted.
func (c *client) next(want string) message {
	c.t.Helper()
	m, err := c.read()
	for err == nil && m.T == "feed" && want != "feed" {
		m, err = c.read()
	}
	if err != nil {
		c.t.Fatalf("want %s, got %v", want, err)
	}
	if m.T != want {
		c.t.Fatalf("want %s, got %+v", want, m)
	}
	return m
}

// redisServer is a real Redis and an operator at its prompt.
type redisServer struct {
	*redistest.Server
	t *testing.T
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	return &redisServer{redistest.Start(t), t}
}

// cli runs redis-cli, as an operator would.
func (r *redisServer) cli(args ...string) string {
	r.t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-u", r.URL()}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("redis-cli %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
