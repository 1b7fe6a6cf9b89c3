// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
	"tickedge/internal/market"
)

// program is tickgen as it runs inside the test.
type program struct {
	stdin  *io.PipeWriter
	stderr logtest.Log
	stop   context.CancelFunc
	code   chan int
}

func start(t *testing.T, args ...string) *program {
	ctx, cancel := context.WithTimeout(context.Background(), 2*redistest.Patience)
	r, w := io.Pipe()
	p := &program{stdin: w, stop: cancel, code: make(chan int, 1)}
	go func() { p.code <- run(ctx, args, r, io.Discard, &p.stderr) }()
	t.Cleanup(func() {
		cancel()
		w.Close()
		if t.Failed() {
			t.Logf("stderr:\n%s", &p.stderr)
		}
	})
	return p
}

func (p *program) exits(t *testing.T, want int) {
	t.Helper()
	select {
	case code := <-p.code:
		if code != want {
			t.Errorf("exit code %d, want %d", code, want)
		}
	case <-time.After(redistest.Patience):
		t.Error("did not exit")
	}
}

func TestPublishesUntilStopped(t *testing.T) {
	s := redistest.Start(t)
	p := start(t, "-redis", s.URL(), "-symbols", "AAPL,MINE", "-rate", "1000", "-redis-key", "k:{topic}")
	p.stdin.Close() // The end of standard input is not the end.
	redistest.Eventually(t, "keys", func() bool { return s.Do("MGET", "k:AAPL", "k:MINE") != "[<nil> <nil>]" })
	p.stop()
	p.exits(t, 0)
	if p.stderr.Count("asked 1000/s, reached ") == 0 {
		t.Error("no status line")
	}
}

func TestStream(t *testing.T) {
	s := redistest.Start(t)
	p := start(t, "-redis", s.URL(), "-symbols", "AAPL", "-rate", "1000", "-redis-stream", "ticks", "-stream-entries", "100")
	length := func() (n int) {
		fmt.Sscan(s.Do("XLEN", "ticks"), &n)
		return n
	}
	redistest.Eventually(t, "entries", func() bool { return length() >= 100 })
	p.stop()
	p.exits(t, 0)
	if n := length(); n > 500 { // Redis trims by nodes of 100.
		t.Errorf("the stream has %d entries, want about 100", n)
	}
	if got := s.Do("XREVRANGE", "ticks", "+", "-", "COUNT", "1"); !strings.Contains(got, "[topic AAPL value "+s.Do("GET", "price:AAPL")+"]") {
		t.Errorf("the newest entry is %s", got)
	}
}

func TestCommands(t *testing.T) {
	s := redistest.Start(t)
	p := start(t, "-redis", s.URL(), "-rate", "100")
	redistest.Eventually(t, "ticks", func() bool { return s.Do("DBSIZE") != "0" })
	for _, c := range []struct{ in, out string }{
		{"speed 5", "speed 5, asked 500/s"},
		{"speed", "speed wants one number from 1 to 10"},
		{"speed 1 2", "speed wants one number from 1 to 10"},
		{"speed fast", `speed "fast" is not a number, want 1 to 10`},
		{"speed 11", "speed is 11, want 1 to 10"},
		{"status", "publishing, speed 5"},
		{"pause", "paused, speed 5"},
		{"resume", "publishing, speed 5"},
		{"pause now", `unknown command "pause now", want pause | resume`},
		{"\x00hello", `unknown command "\x00hello"`},
	} {
		fmt.Fprintln(p.stdin, c.in)
		redistest.Eventually(t, fmt.Sprintf("reply to %q: %s", c.in, c.out), func() bool { return p.stderr.Count(c.out) > 0 })
	}
	fmt.Fprintln(p.stdin, "quit")
	p.exits(t, 0)
}

func TestReplayEnds(t *testing.T) {
	s := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "ticks.jsonl")
	os.WriteFile(file, []byte(`{"topic":"AAPL","ts":1,"v":{"p": 1}}`+"\n"+`{"topic":"AAPL","ts":2,"v":{"p": 2}}`+"\n"), 0o600)
	p := start(t, "-redis", s.URL(), "-replay", file)
	p.exits(t, 0)
	if got := s.Do("GET", "price:AAPL"); !regexp.MustCompile(`^\{"p": 2,"ver":\d{16}\}$`).MatchString(got) {
		t.Errorf("key = %s", got)
	}

	os.WriteFile(file, []byte("oops\n"), 0o600)
	p = start(t, "-redis", s.URL(), "-replay", file)
	p.exits(t, 1)
	if p.stderr.Count("line 1: invalid character 'o'") == 0 {
		t.Error("the line is not named")
	}
	p = start(t, "-redis", s.URL(), "-replay", file+"x")
	p.exits(t, 2)
	if p.stderr.Count("no such file") == 0 {
		t.Error("the file is not named")
	}
}

func TestForEndsWithoutRedis(t *testing.T) {
	p := start(t, "-redis", redistest.New(t).URL(), "-for", "300ms")
	p.exits(t, 0)
	if p.stderr.Count("publisher down") != 1 || p.stderr.Count("start Redis") == 0 {
		t.Error("want one line that says what to do")
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"-rate abc", []string{`-rate is "abc", want a number such as 200: ticks per second`}},
		{"-rate", []string{"-rate has no value, want a number"}},
		{"-bogus", []string{"unknown flag -bogus"}},
		{"-for soon", []string{"want a duration such as 10s (units: ms, s, m, h): end after"}},
		{"-log-level loud", []string{"debug, info, warn or error"}},
		{"redis://:secret@h", []string{"belongs to no flag"}},
		{"-redis redis://:secret/x@h -redis-channel x -speed 11 -rate 0 -loop -for -1s",
			[]string{"redis URL is not valid", `redis channel is "x"`, "-speed is 11", "rate is 0", "-loop needs -replay FILE", "-for is -1s"}},
		{"-rate redis://:secret@h", []string{"-rate is a URL", "want a number"}},
		{"-redis-channel redis://:secret@h", []string{"redis channel is"}},
		{"-redis://:secret@h", []string{"unknown flag"}},
		{"-redis-stream x -stream-entries 0", []string{"-stream-entries is 0"}},
		{"-source memory", []string{"-source: source is memory, a broker inside of an edge", "POST /publish"}},
		{"-source memory://a", []string{"-source: source is memory, a broker inside of an edge"}},
		{"-symbols A,,B", []string{`symbol "" is not valid`}},
	} {
		var stdout, stderr logtest.Log
		if code := run(context.Background(), strings.Fields(c.args), strings.NewReader(""), &stdout, &stderr); code != 2 {
			t.Errorf("%s: exit code %d, want 2", c.args, code)
		}
		for _, want := range append(c.want, "see tickgen -h") {
			if stderr.Count(want) == 0 {
				t.Errorf("%s: message lacks %q:\n%s", c.args, want, &stderr)
			}
		}
		if stderr.Count("secret") > 0 {
			t.Errorf("%s: the password is in the message", c.args)
		}
	}
}

func TestHelpAndDefaults(t *testing.T) {
	var stdout, stderr logtest.Log
	if code := run(context.Background(), []string{"-h"}, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"-rate ticks", "(default 200)", "TICKGEN_REDIS_CHANNEL", "speed N (1 to 10)"} {
		if stdout.Count(want) == 0 {
			t.Errorf("help lacks %q", want)
		}
	}
	t.Setenv("TICKGEN_RATE", "7")
	c, err := parse([]string{"-n", "5"})
	if err != nil || c.market.Rate != 7 || len(c.market.Symbols) != 0 || c.market.Generated != 5 {
		t.Errorf("config = %+v, %v", c, err)
	}
	if c, err = parse(nil); err != nil || len(c.market.Symbols) != len(market.DefaultSymbols()) {
		t.Errorf("config = %+v, %v", c, err)
	}
}

// Whatever a password is made of, and wherever it was put, nothing that is written has it.
func TestNoPasswordIsShown(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	nobody := redistest.New(t).Addr()
	for range 5 {
		password, parts := redistest.Password(random)
		for _, p := range []string{password, redistest.Percent(password)} {
			for _, args := range [][]string{
				{"-redis", "redis://u:" + p + "@" + nobody},
				{"-redis", "redis-sentinel://u:" + p + "@" + nobody + "/m?sentinel_password=" + p},
				{"-redis", "redis-cluster://u:" + p + "@" + nobody, "-redis-channel", "{{topic}}", "-redis-key", "k{{topic}}"},
				{"-redis-key", "redis://u:" + p + "@h"}, {"-replay", "redis://u:" + p + "@h"}, {"-redis://u:" + p + "@h"}, {"-rate", "redis://u:" + p + "@h"},
			} {
				var stdout, stderr logtest.Log
				run(t.Context(), append(args, "-for", "20ms", "-log-level", "debug"), strings.NewReader(""), &stdout, &stderr)
				for _, part := range parts {
					if shown := stdout.String() + stderr.String(); strings.Contains(shown, part) {
						t.Errorf("seed %d: %q shows %s:\n%s", seed, args, part, shown)
					}
				}
			}
		}
	}
}

// A final line end in the environment is none of the URL.
func TestLineEndInTheEnvironment(t *testing.T) {
	t.Setenv("TICKGEN_REDIS", "redis://:p@h\n")
	if c, err := parse(nil); err != nil || c.redisURL != "redis://:p@h" {
		t.Errorf("%s, %v", c.broker(), err)
	}
}

// TestMain lets the test binary be tickgen, for signals.
func TestMain(m *testing.M) {
	if os.Getenv("TICKGEN_TEST_AS_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestSignals(t *testing.T) {
	s := redistest.Start(t)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		var stderr logtest.Log
		cmd := exec.Command(os.Args[0], "-redis", s.URL())
		cmd.Env = append(os.Environ(), "TICKGEN_TEST_AS_MAIN=1")
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, "publishing", func() bool { return stderr.Count("publisher up") > 0 })
		cmd.Process.Signal(sig)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", sig, err, &stderr)
		}
	}
}
