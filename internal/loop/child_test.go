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
	fmt.Printf("conns %d, accept failures %d\n", s.Conns(), s.Stats().AcceptFailures)
}

// childCommand does what the test asks for in a line: deny <system call> <errno> has a
// system call fail from now on.
func childCommand(line string) {
	var call, errno int
	if _, err := fmt.Sscanf(line, "deny %d %d", &call, &errno); err != nil {
		panic(err)
	}
	deny(call, unix.Errno(errno))
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
