// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"os"
	"strings"
	"testing"
)

// Each path has one answer, and what can't be one is told with the right form.
func TestPathsThatCanNotBe(t *testing.T) {
	for _, c := range []struct {
		env  string
		args string
		want []string // All of them, in one run.
	}{
		{"", "-path ws,/a?b -path //x -health-path well", []string{
			`-path: "ws" does not begin with a slash, want for example /ws`, `-path: "/a?b" has a query or a fragment`,
			`-path: "//x" has an empty part`, `-health-path: "well" does not begin with a slash`}},
		{"", "-path wss://feed.example.com/ws", []string{`-path: "wss://feed.example.com/ws" is a URL, want its path only`}},
		{"/a,/100%", "", []string{`-path (EDGE_PATH): "/100%" has a % without two hexadecimal digits behind it`}},
		{"", "-path=", []string{"-path names 0 paths, want 1 to 16, such as /ws"}},
		{"", "-path=/1,/2,/3,/4,/5,/6,/7,/8,/9,/10,/11,/12,/13,/14,/15,/16,/17", []string{"-path names 17 paths, want 1 to 16"}},
		{"", "-page -path /", []string{"-path: / is where the live board (-page, -demo) is, want another path"}},
		{"", "-demo -health-path /", []string{"-health-path: / is where the live board (-page, -demo) is"}},
		{"", "-path /a,/b -health-path /%62/", []string{"-health-path: /b is where the WebSocket (-path) is"}},
		{"", "-path /prices", []string{"-path: /prices is where the list of values is, want another path"}},
		{"", "-health-path /topics/", []string{"-health-path: /topics is where the list of topics is, want another path"}},
		{"", "-path /ws,/sse", []string{"-path: /sse is where the stream of events is, want another path"}},
		{"", "-max-head 7", []string{"-max-head is 7, want 8 to 64 KiB"}},
		{"", "-max-head 65536", []string{"-max-head is 65536, want 8 to 64 KiB"}},
	} {
		if c.env != "" {
			t.Setenv("EDGE_PATH", c.env)
		}
		_, err := Parse(strings.Fields(c.args))
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in:\n%v", c.args, want, err)
			}
		}
		os.Unsetenv("EDGE_PATH")
	}
	for args, want := range map[string]string{
		"":                                  "-path=/ws\n",
		"-path /":                           "-path=/\n",
		"-path /ws/,/%77s -path /prices/ws": "-path=/ws,/prices/ws\n",
		"-health-path / -max-head 64":       "-health-path=/\n",
		"-demo -page=false -path /":         "-path=/\n",
		"-page -health-path /well/":         "-health-path=/well\n",
	} {
		c, err := Parse(strings.Fields(args))
		var out strings.Builder
		c.print(&out)
		if err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, and %q is not in:\n%s", args, err, want, &out)
		}
	}
}

// Health is at /health, unless it was put elsewhere or that path is somebody else's.
func TestWhereHealthIs(t *testing.T) {
	for args, want := range map[string]string{
		"": "/health", "-health-path /well": "/well", "-health-path /health/": "/health", "-path /health": "", "-path /health -health-path /well": "/well",
	} {
		if c, err := Parse(strings.Fields(args)); err != nil || c.loop.HealthPath != want {
			t.Errorf("%s: health at %q (%v), want %q", args, c.loop.HealthPath, err, want)
		}
	}
}
