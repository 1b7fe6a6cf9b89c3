// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/internal/topics"
)

// child is the test binary as a server in a process of its own, which may not open
// more files than spec says. It ends when its input does.
func child(spec string) {
	var limit uint64
	cfg := quick()
	if _, err := fmt.Sscan(spec, &limit, &cfg.MaxConns, &cfg.Listen); err != nil {
		panic(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic(err)
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stdout, nil))
	if os.Getenv(childBeforeEnv) != "" {
		childCommand(os.Getenv(childBeforeEnv))
	}
	table := topics.New(topics.Config{Max: 1000, Linger: time.Second})
	table.SetSourceState(0, true, 1)
	go feed(table, nil)
	s, err := Start(cfg, table)
	if err != nil {
		panic(err)
	}
	fmt.Println("listening:", s.Addr())
	go func() {
		for err := range s.Failed() {
			fmt.Println("failed:", err)
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() != "state" {
			childCommand(in.Text())
			fmt.Println("done:", in.Text())
		}
		childState(s)
	}
	s.Shutdown(context.Background(), 0)
	childState(s)
}

// childState tells how the server is.
func childState(s *Server) {
	fmt.Printf("conns %d, accept failures %d\n", s.Conns(), s.Stats().Loop[AcceptFailures])
}

// childProcess is a server in a process of its own.
type childProcess struct {
	t     testing.TB
	addr  net.Addr
	input io.WriteCloser
	ended chan error

	mu     sync.Mutex
	output strings.Builder
}

// childBeforeEnv is a command for the server that it carries out before it starts.
const childBeforeEnv = "TICKEDGE_LOOP_CHILD_BEFORE"

// spawn starts one that may open limit files.
func spawn(t testing.TB, limit, maxConns int) *childProcess {
	t.Helper()
	return spawnAt(t, "127.0.0.1:0", limit, maxConns)
}

func spawnAt(t testing.TB, listen string, limit, maxConns int, env ...string) *childProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), env...), fmt.Sprintf("%s=%d %d %s", childEnv, limit, maxConns, listen))
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ch := &childProcess{t: t, input: input, ended: make(chan error, 1)}
	lines := bufio.NewReader(output)
	listening := make(chan string, 1)
	go func() {
		for {
			line, err := lines.ReadString('\n')
			ch.mu.Lock()
			ch.output.WriteString(line)
			ch.mu.Unlock()
			if addr, ok := strings.CutPrefix(line, "listening: "); ok {
				listening <- strings.TrimSpace(addr)
			}
			if err != nil {
				ch.ended <- cmd.Wait()
				return
			}
		}
	}()
	t.Cleanup(func() { ch.end() })
	select {
	case addr := <-listening:
		if ch.addr, err = net.ResolveTCPAddr("tcp", addr); err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatalf("the server does not listen:\n%s", ch.said())
	}
	return ch
}

// do has the server do something, and waits until it has, see childCommand.
func (ch *childProcess) do(format string, args ...any) {
	ch.t.Helper()
	line := fmt.Sprintf(format, args...)
	fmt.Fprintln(ch.input, line)
	until(ch.t, func() bool { return strings.Contains(ch.said(), "done: "+line) }, "the server to %s", line)
}

// state asks the server how it is, and returns what it has said last of that, which may be
// the answer to an earlier question. All is 0 before the first answer.
func (ch *childProcess) state() (conns, failures int) {
	fmt.Fprintln(ch.input, "state")
	said := ch.said()
	last := said[max(0, strings.LastIndex("\n"+said, "\nconns ")):]
	_, _ = fmt.Sscanf(last, "conns %d, accept failures %d\n", &conns, &failures)
	return conns, failures
}

// said is what the server has written.
func (ch *childProcess) said() string {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.output.String()
}

// end ends the server and returns what it has written.
func (ch *childProcess) end() string {
	ch.t.Helper()
	_ = ch.input.Close()
	select {
	case err := <-ch.ended:
		if err != nil {
			ch.t.Errorf("the server ended with %v", err)
		}
		ch.ended <- nil
	case <-time.After(2 * patience):
		ch.t.Error("the server does not end")
	}
	return ch.said()
}
