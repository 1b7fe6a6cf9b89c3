package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// runEdge runs the binary to its end.
func runEdge(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestWrongFlagsEndWithCode2AndTheRightForm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want []string // All of them, in one run.
	}{
		{"unknown", nil, []string{"-lisen", ":1"}, []string{"lisen"}},
		{"argument", nil, []string{"serve"}, []string{"belongs to no flag"}},
		{"all at once", nil, []string{"-check", "-interval", "1ms", "-listen", "8080", "-log-level", "loud", "-redis", "http://x", "-max-topics", "0"},
			[]string{"-interval is 1ms, want 100ms to 1m0s", `-listen is "8080", want host:port`, "-log-level", "redis", "-max-topics is 0"}},
		{"no unit", nil, []string{"-interval", "500"}, []string{"-interval", "500"}},
		{"too many conns", nil, []string{"-check", "-max-conns", "999999999"}, []string{"-max-conns 999999999 needs", "the limit is", "LimitNOFILE"}},
		{"environment", []string{"EDGE_SLOW_TIMEOUT=soon"}, []string{"-check"}, []string{"EDGE_SLOW_TIMEOUT", "soon"}},
		{"demo and redis", nil, []string{"-check", "-demo", "-redis", "redis://x"}, []string{"-demo brings its own Redis"}},
		{"channel without topic", nil, []string{"-check", "-redis-channel", "prices"}, []string{"{topic}"}},
		{"password in a bad URL", nil, []string{"-check", "-redis", "redis://u:hunter2@h/seven"}, []string{"redis"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := runEdge(t, c.env, c.args...)
			if code != 2 || stdout != "" {
				t.Errorf("code %d, stdout %q", code, stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in:\n%s", want, stderr)
				}
			}
			if strings.Contains(stderr, "hunter2") {
				t.Errorf("the password is shown:\n%s", stderr)
			}
		})
	}
}

func TestCheckPrintsTheEffectiveConfiguration(t *testing.T) {
	t.Parallel()
	code, out, stderr := runEdge(t, []string{"EDGE_MAX_CONNS=1234", "EDGE_DRAIN=3s", "EDGE_INTERVAL=1s"},
		"-check", "-interval", "250ms", "-redis", "rediss://u:hunter2@example.com:6380/3")
	if code != 0 || stderr != "" {
		t.Fatalf("code %d: %s", code, stderr)
	}
	for _, want := range []string{"-max-conns=1234\n", "-drain=3s\n", "-interval=250ms\n", "-redis=rediss://u:xxxxx@example.com:6380/3\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "hunter2") {
		t.Error("the password is shown")
	}
	// What -check prints can be given back.
	args := append([]string{"-check"}, strings.Fields(out)...)
	if code, again, stderr := runEdge(t, nil, args...); code != 0 || again != out {
		t.Errorf("code %d %s\n%s\nbecame\n%s", code, stderr, out, again)
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	t.Parallel()
	code, out, _ := runEdge(t, nil, "-h")
	if code != 0 {
		t.Errorf("code %d", code)
	}
	for _, name := range []string{"listen", "admin", "redis", "redis-channel", "redis-key", "demo", "page", "loops",
		"interval", "max-conns", "max-topics", "slow-timeout", "idle-timeout", "handshake-timeout", "ping-interval",
		"drain", "log-level", "log-format", "check"} {
		if !strings.Contains(out, "\n  -"+name+" ") {
			t.Errorf("-%s is not in the help", name)
		}
	}
}
