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
	if _, err := fmt.Sscan(spec, &limit, &cfg.MaxConns); err != nil {
		panic(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic(err)
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stdout, nil))
	table := topics.New(topics.Config{Max: 1000, Linger: time.Second})
	table.SetFeed(0, true, 1)
	go feed(table, nil)
	s, err := Start(cfg, table)
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Addr())
	go func() {
		for err := range s.Failed() {
			fmt.Println("failed:", err)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	s.Shutdown(context.Background(), 0)
	fmt.Println("conns", s.Conns())
}

// childProcess is a server in a process of its own.
type childProcess struct {
	t     testing.TB
	addr  net.Addr
	input io.Closer
	ended chan error

	mu     sync.Mutex
	output strings.Builder
}

// spawn starts one that may open limit files.
func spawn(t testing.TB, limit, maxConns int) *childProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", childEnv, limit, maxConns))
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
	first, _ := lines.ReadString('\n')
	go func() {
		for {
			line, err := lines.ReadString('\n')
			ch.mu.Lock()
			ch.output.WriteString(line)
			ch.mu.Unlock()
			if err != nil {
				ch.ended <- cmd.Wait()
				return
			}
		}
	}()
	t.Cleanup(func() { ch.end() })
	if ch.addr, err = net.ResolveTCPAddr("tcp", strings.TrimSpace(first)); err != nil {
		t.Fatalf("the server said %q: %v", first, err)
	}
	return ch
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
