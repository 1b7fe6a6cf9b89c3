// SPDX-License-Identifier: Apache-2.0

package grpcapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	"tickedge/internal/backoffice"
	"tickedge/internal/broker"
	"tickedge/internal/logtest"
)

const (
	secret = "0123456789abcdef0123456789abcdef"
	// waitMax is how long a test waits for what must come soon.
	waitMax = 60 * time.Second
)

// fake is an edge whose broker does with all values the same.
type fake struct {
	backoffice.Edge
	mu     sync.Mutex
	fate   broker.Fate
	away   bool
	panics bool
	got    []string
	filter backoffice.Filter
	bye    backoffice.Bye
}

func (f *fake) Publish(t broker.Tick, done func(broker.Fate)) error {
	if err := broker.CheckTick(t); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.got = append(f.got, fmt.Sprintf("%s=%s", t.Topic, t.Value)); !f.away {
		done(f.fate)
	}
	return nil
}

func (f *fake) Conns(_ context.Context, filter backoffice.Filter, after string, n int) (all []backoffice.Conn, _ error) {
	if f.panics {
		panic("on demand")
	}
	f.filter = filter
	for i := range 3 {
		if id := fmt.Sprintf("%08d", i+1); id > after && len(all) < n && (filter.Conn == "" || filter.Conn == id) {
			all = append(all, backoffice.Conn{ID: id, User: "ann", Address: "127.0.0.1:5", State: "open", Transport: "websocket", Since: 7, Topics: 2, Window: 500, Backlog: 9})
		}
	}
	return all, nil
}

func (f *fake) Disconnect(_ context.Context, filter backoffice.Filter, bye backoffice.Bye) (int, error) {
	if f.filter, f.bye = filter, bye; filter.Conn == "00000000" {
		return 0, nil
	}
	return 2, nil
}

func (f *fake) TellDisconnect(string, backoffice.Bye) (<-chan struct{}, error) {
	told := make(chan struct{})
	close(told)
	return told, nil
}

// world is a back office with both of its doors.
type world struct {
	*testing.T
	*Server
	edge     *fake
	log      *logtest.Log
	port     *backoffice.Port
	addr     string
	draining chan struct{}
}

// serve runs both doors. change may change what the port of HTTP is, and creds are those of gRPC.
func serve(t *testing.T, creds credentials.TransportCredentials, change func(*backoffice.Config)) *world {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("bob:"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := backoffice.Config{Addr: "127.0.0.1:0", KeyFile: file}
	if change != nil {
		change(&cfg)
	}
	log, said := logtest.New(t)
	port, err := backoffice.Listen(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Close)
	w := &world{T: t, Server: New(port.Service), edge: &fake{}, log: said, port: port, draining: make(chan struct{})}
	port.Serve(w.edge)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	s := grpc.NewServer(grpc.Creds(creds))
	w.Register(s, w.draining)
	go func() { _ = s.Serve(ln) }() // It ends with Stop.
	t.Cleanup(s.Stop)
	return w
}

func (w *world) dial(creds credentials.TransportCredentials) backofficev1.BackOfficeClient {
	w.Helper()
	c, err := grpc.NewClient("passthrough:///"+w.addr, grpc.WithTransportCredentials(creds),
		grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = c.Close() })
	return backofficev1.NewBackOfficeClient(c)
}

func (w *world) plain() backofficev1.BackOfficeClient { return w.dial(insecure.NewCredentials()) }

// as is the context of a caller with these fields of metadata.
func (w *world) as(fields ...string) context.Context {
	ctx, cancel := context.WithTimeout(w.Context(), waitMax)
	w.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, fields...)
}

func (w *world) bob() context.Context { return w.as("authorization", "Bearer "+secret) }

// rest asks the door of HTTP.
func (w *world) rest(path string) (code int) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), "GET", "http://"+w.port.Addr().String()+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// until waits for what must come.
func (w *world) until(ok func() bool, what string) {
	w.Helper()
	for deadline := time.Now().Add(waitMax); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("no sign of %s", what)
		}
	}
}

func (w *world) counted(method string, code int) uint64 {
	return w.port.Requests()[backoffice.Count{Route: method, Code: code}]
}

// show is how a call has ended.
func show(err error) string {
	return fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
}

// says checks how a call has ended, by how the text begins.
func (w *world) says(err error, want string) {
	w.Helper()
	if got := show(err); !strings.HasPrefix(got, want) {
		w.Errorf("got %s\nwant %s", got, want)
	}
}
