// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/panics"
)

// patience bounds every wait of these tests. It is only reached when one fails.
const patience = 2 * time.Minute

// programEnv makes the test binary one of programs.
const programEnv = "APP_TEST_PROGRAM"

// readerEnv says that standard error is read to the end, however long that takes.
const readerEnv = "APP_TEST_READER"

func TestMain(m *testing.M) {
	if name := os.Getenv(programEnv); name != "" {
		if os.Getenv(readerEnv) != "" {
			lastWords = patience
		}
		oneIntent = 0
		if name == "stops" {
			oneIntent = time.Hour
		}
		Main(func(ctx context.Context, _ []string, _ io.Reader, stdout, stderr io.Writer) int {
			return programs[name](ctx, stdout, stderr)
		})
	}
	os.Exit(m.Run())
}

const manyLines = 8000

// say writes more than a pipe or a socket holds.
func say(stderr io.Writer) {
	for i := range manyLines {
		fmt.Fprintf(stderr, "line %05d of a program that is about to end\n", i)
	}
}

var programs = map[string]func(ctx context.Context, stdout, stderr io.Writer) int{
	// ends says much and ends at once.
	"ends": func(_ context.Context, _, stderr io.Writer) int { say(stderr); return Failed },
	// fatal says much and ends for a fault in the topic table.
	"fatal": func(_ context.Context, _, stderr io.Writer) int {
		say(stderr)
		panics.Ending()
		go panic("a fault")
		select {}
	},
	// panics ends for a panic that nobody has foreseen.
	"panics": func(_ context.Context, _, stderr io.Writer) int {
		say(stderr)
		go panic("boom")
		select {}
	},
	// floods says more than may wait, tells how much of it was dropped, and waits for a signal.
	"floods": func(ctx context.Context, stdout, stderr io.Writer) int {
		LogConfig{Level: "info", Format: "text"}.Logger(stderr)
		for LinesDropped() < 1000 {
			say(stderr)
		}
		fmt.Fprintln(stdout, LinesDropped())
		<-ctx.Done()
		return OK
	},
	// stops after the second signal.
	"stops": func(ctx context.Context, stdout, stderr io.Writer) int {
		slog.SetDefault(LogConfig{Level: "info", Format: "text"}.Logger(stderr))
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, os.Interrupt)
		fmt.Fprintln(stdout, "ready")
		<-ctx.Done()
		<-signals
		fmt.Fprintln(stdout, "stopping")
		<-signals
		fmt.Fprintln(stdout, "told again")
		_, _ = os.Stdin.Read(make([]byte, 1)) // Until its end.
		return OK
	},
	// waits for the first signal, and then for ever.
	"waits": func(ctx context.Context, stdout, stderr io.Writer) int {
		slog.SetDefault(LogConfig{Level: "info", Format: "text"}.Logger(stderr))
		fmt.Fprintln(stdout, "ready")
		<-ctx.Done()
		say(stderr)
		fmt.Fprintln(stdout, "stopping")
		select {}
	},
}

// child is one of programs as a process.
type child struct {
	*exec.Cmd
	t      *testing.T
	stdout *bufio.Reader
	done   chan error
}

func startChild(t *testing.T, program string, stderr *os.File) *child {
	t.Helper()
	return startChildWith(t, program, nil, stderr)
}

func startChildWith(t *testing.T, program string, stdin, stderr *os.File) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0]), t: t, done: make(chan error, 1)}
	c.Env = append(os.Environ(), programEnv+"="+program)
	if t.Name() == "TestSecondSignalIsTold" || strings.HasPrefix(t.Name(), "TestLastLines") {
		c.Env = append(c.Env, readerEnv+"=1")
	}
	c.Stderr = stderr
	if stdin != nil {
		c.Stdin = stdin
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdout = bufio.NewReader(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stderr.Close()
	t.Cleanup(func() { _ = c.Process.Kill() })
	return c
}

// ends waits for the process and returns how it ended.
func (c *child) ends() *os.ProcessState {
	c.t.Helper()
	go func() { c.done <- c.Wait() }()
	select {
	case err := <-c.done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			c.t.Fatal(err)
		}
	case <-time.After(patience):
		_ = c.Process.Kill()
		c.t.Fatal("the process does not end")
	}
	return c.ProcessState
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	return read, write
}

// The last lines before an exit are read by a reader that is there, also where a panic ends the process.
func TestLastLinesAreWritten(t *testing.T) {
	for program, c := range map[string]struct {
		code int
		last string
	}{
		"ends":  {Failed, "about to end\n"},
		"fatal": {2, ""},
	} {
		t.Run(program, func(t *testing.T) {
			read, write := pipe(t)
			p := startChild(t, program, write)
			said, err := io.ReadAll(read)
			if err != nil {
				t.Fatal(err)
			}
			if code := p.ends().ExitCode(); code != c.code {
				t.Errorf("code %d, want %d", code, c.code)
			}
			if n := strings.Count(string(said), "about to end\n"); n != manyLines {
				t.Errorf("%d lines, want %d", n, manyLines)
			}
			if c.last != "" && !strings.HasSuffix(string(said), c.last) {
				t.Errorf("the last line is lost: …%q", said[max(0, len(said)-100):])
			}
			if program == "fatal" && !strings.Contains(string(said), "panic: a fault") {
				t.Error("the panic is lost")
			}
		})
	}
}

// Who stops reading, and reads on later, gets all that was kept, and hears how much was not.
func TestTheLogIsReadAgain(t *testing.T) {
	read, write := pipe(t)
	p := startChild(t, "floods", write)
	dropped, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(read)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(line, "about to end\n") {
			continue
		}
		if want := "dropped=" + strings.TrimSpace(dropped) + " "; !strings.Contains(line, want) {
			t.Errorf("it says %q, want %s", line, want)
		}
		break
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.ends().ExitCode(); code != OK {
		t.Errorf("code %d", code)
	}
}

// A process ends when it has to, whatever has become of those who read its standard error.
func TestEndsWithoutAReader(t *testing.T) {
	readers := map[string]func(t *testing.T) *os.File{
		"a pipe that nobody reads": func(t *testing.T) *os.File { _, write := pipe(t); return write },
		"a pipe without a reader":  func(t *testing.T) *os.File { read, write := pipe(t); read.Close(); return write },
		"a socket that nobody reads": func(t *testing.T) *os.File {
			fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			syscall.CloseOnExec(fds[0])
			syscall.CloseOnExec(fds[1])
			keep := os.NewFile(uintptr(fds[0]), "reader")
			t.Cleanup(func() { keep.Close() })
			return os.NewFile(uintptr(fds[1]), "writer")
		},
	}
	for what, reader := range readers {
		for program, code := range map[string]int{"ends": Failed, "fatal": 2, "panics": 2} {
			t.Run(program+" with "+what, func(t *testing.T) {
				t.Parallel()
				if got := startChild(t, program, reader(t)).ends(); got.ExitCode() != code {
					t.Errorf("ended with %v, want code %d", got, code)
				}
			})
		}
		t.Run("a second signal with "+what, func(t *testing.T) {
			t.Parallel()
			p := startChild(t, "waits", reader(t))
			for _, want := range []string{"ready\n", "stopping\n"} {
				if line, err := p.stdout.ReadString('\n'); err != nil || line != want {
					t.Fatalf("%q, %v, want %q", line, err, want)
				}
				if err := p.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			got := p.ends()
			if status := got.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
				t.Errorf("ended with %v, want SIGTERM", got)
			}
		})
	}
}

// A second signal is told, if anybody reads it.
func TestSecondSignalIsTold(t *testing.T) {
	read, write := pipe(t)
	p := startChild(t, "waits", write)
	for _, want := range []string{"ready\n", "stopping\n"} {
		if line, err := p.stdout.ReadString('\n'); err != nil || line != want {
			t.Fatalf("%q, %v, want %q", line, err, want)
		}
		if err := p.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
	said, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	p.ends()
	if text := string(said); strings.Count(text, "about to end") != manyLines || !strings.Contains(text, "a second time") {
		t.Errorf("it said …%q", text[max(0, len(text)-200):])
	}
}

// Who stops a process may have two ways to say so at a time.
func TestSignalTwiceAtATime(t *testing.T) {
	read, write := pipe(t)
	stdin, hold := pipe(t)
	p := startChildWith(t, "stops", stdin, write)
	for _, want := range []string{"ready\n", "stopping\n", "told again\n"} {
		if line, err := p.stdout.ReadString('\n'); err != nil || line != want {
			t.Fatalf("%q, %v, want %q", line, err, want)
		}
		if want == "told again\n" {
			break
		}
		if err := p.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
	hold.Close()
	said, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	if state := p.ends(); state.ExitCode() != OK || len(said) > 0 {
		t.Errorf("%v, and it said %q", state, said)
	}
}
