// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tickedge/internal/app"
	capacity "tickedge/internal/plan"
)

// runMain runs the program.
func runMain(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(context.Background(), args, nil, &out, &errs)
	return code, out.String(), errs.String()
}

func TestPlan(t *testing.T) {
	t.Setenv("EDGE_CLIENTS", "7")
	t.Setenv("EDGE_PLAN_CLIENTS", "7") // Its flags are for the command line.
	code, stdout, stderr := runMain(strings.Fields("plan -clients 1000000 -topics 20 -symbols 5000 -egress-price 0.08 -tls -edges auto")...)
	for _, want := range []string{
		"1,000,000 clients with 20 of 5,000 topics", "cores for frames", "GB a month", "edge doctor -max-conns", "What is taken for granted",
		"\n  all come back ", "one edge gone", "files of proxies",
	} {
		if code != app.OK || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("code %d, %q is not in:\n%s%s", code, want, stdout, stderr)
		}
	}
	code, stdout, stderr = runMain(strings.Fields("plan -clients 5000 -window 1s -transport sse -edges 3 -cores-per-host 2 -json")...)
	var p capacity.Plan
	if err := json.Unmarshal([]byte(stdout), &p); err != nil || code != app.OK || stderr != "" {
		t.Fatalf("code %d, %v: %s", code, err, stderr)
	}
	l := p.Load
	if l.Clients != 5000 || l.Window.Seconds() != 1 || l.Transport != capacity.Events || l.Edges != 3 || l.Cores != 2 || p.Edges.Count != 3 ||
		l.FrameCost != capacity.FrameCost {
		t.Errorf("%+v", l)
	}
	// What the edge has by default is what is planned with.
	c := newConfig()
	c.loop.Loops = 2
	if l.Limits.Topics != 256 || l.Limits.TopicsTotal != 100_000 || l.Limits.Reserve != int64(c.fileReserve()) ||
		l.RetrySpread != c.loop.RetrySpread {
		t.Errorf("%+v", l)
	}
	if _, stdout, _ := runMain("plan"); !strings.Contains(stdout,
		"100,000 clients with 10 of 1,000 topics each, by WebSockets, a window of "+c.loop.Shard.Interval.String()) {
		t.Errorf("without flags:\n%s", stdout)
	}
}

func TestPlanRefusesWrongFlags(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-clients 0":       "edge plan: -clients is 0, want 1 to 1000000000, such as -clients 100000\n",
		"-clients -1":      "edge plan: -clients is -1, want 1 to",
		"-clients 1e6":     `edge plan: -clients is "1e6", want a whole number such as 100000`,
		"-tick-rate NaN":   "edge plan: -tick-rate is NaN, want 0 to",
		"-tick-rate -Inf":  "edge plan: -tick-rate is -Inf",
		"-tick-rate 1e999": `edge plan: -tick-rate is "1e999", want a number such as 2`,
		"-window 5":        `edge plan: -window is "5", want a duration such as 500ms`,
		"-edges 0":         `edge plan: -edges is "0", want number or auto`,
		"-edges -3":        `edge plan: -edges is "-3", want number or auto`,
		"-edges 100001":    "edge plan: -edges is 100001, want 1 to 100000",
		"-transport grpc":  `edge plan: -transport is "grpc", want ws`,
		"-max-conns 5":     "edge plan: unknown flag -max-conns",
		"-client 5":        "edge plan: unknown flag -client: did you mean -clients?",
		"now":              "edge plan: argument 1 belongs to no flag",
		"-topics 11 -symbols 10 -row-bytes 0": "edge plan: -row-bytes is 0, want 1 to 65536, such as -row-bytes 100\n" +
			"edge plan: -topics is 11 and -symbols is 10",
	} {
		code, stdout, stderr := runMain(append([]string{"plan"}, strings.Fields(args)...)...)
		if code != app.Usage || stdout != "" || !strings.HasPrefix(stderr, want) || !strings.HasSuffix(stderr,
			"edge plan -h lists its flags\n") {
			t.Errorf("%s: code %d, want %q:\n%s%s", args, code, want, stdout, stderr)
		}
	}
}

// The help of the edge, its completion and the handbook know the command, and all of its flags.
func TestPlanIsFound(t *testing.T) {
	t.Parallel()
	if _, help, _ := runMain("-h"); !strings.Contains(help, "\n  edge plan ") {
		t.Error("edge -h does not name it")
	}
	if _, words, _ := runMain("completion", "bash"); !strings.Contains(words, " plan ") {
		t.Errorf("completion does not know it: %s", words)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Capacity\n")
	section, _, _ = strings.Cut(section, "\n## ")
	code, help, _ := runMain("plan", "-h")
	fs, _, _ := planFlags()
	for name := range fs.Names {
		if code != app.OK || !strings.Contains(help, "\n  -"+name+" ") || !strings.Contains(section, "-"+name) {
			t.Errorf("-%s is not in the help, or not in docs/OPERATIONS.md", name)
		}
	}
}

// Whatever is said, there is a plan or an error that says what is right.
func FuzzPlanFlags(f *testing.F) {
	for _, args := range []string{
		"-clients 1000000 -topics 20", "-clients -1", "-tick-rate NaN", "-tick-rate 1e308 -symbols 10000000", "-window 1ns",
		"-row-bytes 99999999999999999999",
		"-edges 0", "-egress-price Inf", "-retry-spread -5s",
		"-cores-per-host 1024 -edges 100000 -clients 1000000000", "-tls -transport sse", "-frame-cost 0",
	} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, args string) {
		var out, errs bytes.Buffer
		code := Main(context.Background(), append([]string{"plan", "-json"}, strings.Fields(args)...), nil, &out, &errs)
		switch code {
		case app.OK:
			help := strings.HasPrefix(out.String(), "edge plan says") || strings.Contains(args, "-json")
			if !help && !json.Valid(out.Bytes()) {
				t.Errorf("%q: %s", args, out.String())
			}
		case app.Usage:
			if out.Len() > 0 || !strings.HasPrefix(errs.String(), "edge plan: ") {
				t.Errorf("%q: %s%s", args, out.String(), errs.String())
			}
		default:
			t.Errorf("%q: code %d", args, code)
		}
	})
}
