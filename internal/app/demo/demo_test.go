// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tickedge/internal/app"
)

// make run takes flags, as README says.
func TestMakeRunTakesFlags(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^make run ARGS='(.*)'$`).FindSubmatch(readme)
	if m == nil {
		t.Fatal("README.md has no example of make run with flags")
	}
	example := string(m[1])
	out, err := exec.Command("make", "-n", "-C", root, "run", "ARGS="+example).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "./cmd/demo "+example+"\n") {
		t.Errorf("make run ARGS='%s' does (%v):\n%s", example, err, out)
	}
	if code, _, stderr := run(append(strings.Fields(example), "-check")...); code != app.OK {
		t.Errorf("%s: %d %s", example, code, stderr)
	}
}

// localhost is 127.0.0.1, and no other address of the loopback.
func TestBoardURL(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0": "http://localhost:80/", "127.0.0.1": "http://localhost:80/", "::1": "http://localhost:80/", "127.0.0.15": "http://127.0.0.15:80/",
	} {
		if url := boardURL(&net.TCPAddr{IP: net.ParseIP(listen), Port: 80}); url != want {
			t.Errorf("%s: %s, want %s", listen, url, want)
		}
	}
}

func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(context.Background(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, app.OK, "demo "},
		{[]string{"-h"}, app.OK, "demo is a whole system"},
		{[]string{"completion", "bash"}, app.OK, "demo"},
		{[]string{"completion"}, app.Usage, "want a shell"},
		{[]string{"-check"}, app.OK, "-rate=200"},
		{[]string{"-rate=-1"}, app.Usage, "-rate: rate is -1, want"},
		{[]string{"-listen=x"}, app.Usage, `-listen is "x", want host:port`},
		{[]string{"-symbols=a b"}, app.Usage, "no name of a topic"},
		{[]string{"-volatility=1e9"}, app.Usage, "volatility"},
		{[]string{"-sybmols=A"}, app.Usage, "-symbols"},
	} {
		code, stdout, stderr := run(c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%v: %d %s%s; want %d and %q", c.args, code, stdout, stderr, c.code, c.want)
		}
		if strings.Contains(stderr, "-sim-") || strings.Contains(stderr, "EDGE") {
			t.Errorf("%v: %s is about other programs' flags", c.args, stderr)
		}
	}
}
