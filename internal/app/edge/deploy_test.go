// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shipped are the documents and the files of deploy/, by their place in the source tree.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	files := make(map[string]string)
	for _, pattern := range []string{"README.md", "docs/*.md", "deploy/*/*", "docker-compose.yml", "Dockerfile"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, path := range found {
			if is, err := os.Stat(path); err == nil && is.IsDir() { // The chart, which tests of cmd/demo hold.
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(root, path)
			files[name] = string(text)
		}
	}
	return files
}

// find returns what the first group of a pattern has in a file.
func find(t *testing.T, files map[string]string, name, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(files[name])
	if m == nil {
		t.Fatalf("%s has no %s", name, pattern)
	}
	return m[1]
}

// isFlag reports whether the edge has a flag.
func isFlag(name string) bool { return newConfig().flags.Lookup(name) != nil }

// seconds reads a time, which may be a number of seconds without its unit.
func seconds(t *testing.T, s string) time.Duration {
	t.Helper()
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(n) * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Whoever supervises an edge as our files and documents tell waits until it has ended, and all of
// them say the same of how long that is.
func TestTimesToStopAgree(t *testing.T) {
	t.Parallel()
	c, files := newConfig(), shipped(t)
	if err := c.read(nil); err != nil {
		t.Fatal(err)
	}
	if own := c.loop.StopTime(); own+3*time.Second > stopTime {
		t.Errorf("connections and loops take %v, and the rest has to do with what is left of %v", own, stopTime)
	}
	const unit, compose, tuning, operations = "deploy/systemd/tickedge.service", "docker-compose.yml", "docs/TUNING.md", "docs/OPERATIONS.md"
	delay := func(name, pattern string) time.Duration { return seconds(t, find(t, files, name, pattern)) }
	shippedDelay := delay(operations, "It is 0s by default, and ([0-9]+s) in the files of")
	for _, s := range []struct {
		file, stop string
		delay      time.Duration
	}{
		{unit, `(?m)^TimeoutStopSec=(\d+)$`, delay(unit, `(?m)^Environment=EDGE_DRAIN_DELAY=(\w+)$`)},
		{compose, `(?m)^  stop_grace_period: (\w+)$`, delay(compose, `(?m)^    EDGE_DRAIN_DELAY: (\w+)`)},
		{tuning, "`TimeoutStopSec=([0-9]+)`", shippedDelay},
		{tuning, "--stop-timeout ([0-9]+)", shippedDelay},
		{tuning, "terminationGracePeriodSeconds: ([0-9]+)", shippedDelay},
		{"Dockerfile", "docker stop --timeout ([0-9]+)", shippedDelay},
	} {
		if s.delay != shippedDelay {
			t.Errorf("%s has a drain delay of %v, and %s says %v", s.file, s.delay, operations, shippedDelay)
		}
		if least, is := s.delay+c.drain+stopTime, seconds(t, find(t, files, s.file, s.stop)); is < least {
			t.Errorf("%s: %s gives it %v, and it may take %v", s.file, s.stop, is, least)
		}
	}
	sum := fmt.Sprintf("+ %.0f s", stopTime.Seconds())
	for name, want := range map[string]string{
		operations: "`-drain-delay` + `-drain` " + sum, tuning: "`-drain-delay` + `-drain` " + sum,
		unit: "EDGE_DRAIN_DELAY + EDGE_DRAIN " + sum, compose: "EDGE_DRAIN_DELAY + EDGE_DRAIN (10s) " + sum, "Dockerfile": "EDGE_DRAIN_DELAY + EDGE_DRAIN " + sum,
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
	// A balancer has noticed within the delay.
	const proxy = "deploy/haproxy/haproxy.cfg"
	inter, fall := seconds(t, find(t, files, proxy, `check inter (\w+)`)), seconds(t, find(t, files, proxy, `fall (\d+)`))
	if said := seconds(t, find(t, files, proxy, `-drain-delay (\w+)`)); said != shippedDelay || inter*fall/time.Second >= said {
		t.Errorf("%s notices after %v, and has a delay of %v; ours is %v", proxy, inter*fall/time.Second, said, shippedDelay)
	}
}

// All files and documents mean the ports that the edge has by default.
func TestPortsAgree(t *testing.T) {
	t.Parallel()
	files, flags := shipped(t), newConfig().flags
	port := func(name string) string {
		_, port, err := net.SplitHostPort(flags.Lookup(name).DefValue)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	clients, admin := port("listen"), port("admin")
	if admin == "9090" {
		t.Error("9090 is the port of Prometheus, which is on the same host as often as not")
	}
	for name, wants := range map[string][]string{
		"Dockerfile": {"EXPOSE " + clients + " " + admin + "\n", "EDGE_ADMIN=:" + admin},
		"docker-compose.yml": {
			`EDGE_ADMIN: ":` + admin + `"`, `- "127.0.0.1:` + clients + ":" + clients + `"`, `- "127.0.0.1:` + admin + ":" + admin + `"`,
		},
		"deploy/haproxy/haproxy.cfg": {"127.0.0.1:" + clients + " port " + admin + "\n"},
		"deploy/haproxy/compose.cfg": {"bind :" + clients + "\n", "edge3:" + clients + "\n", "check port " + admin + " "},
		"deploy/nginx/nginx.conf":    {"127.0.0.1:" + clients + " "},
		"deploy/nginx/http.conf":     {"127.0.0.1:" + clients + " "},
		"docs/OPERATIONS.md":         {"`-admin`, 127.0.0.1:" + admin + " by", "`:" + clients + "`"},
		"docs/BUDGET.md":             {"127.0.0.1:" + admin + "/debug/pprof/heap"},
		"README.md":                  {"http://localhost:" + clients + "/"},
	} {
		for _, want := range wants {
			if !strings.Contains(files[name], want) {
				t.Errorf("%s does not have %q", name, want)
			}
		}
	}
	for name, text := range files {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "9090") && !strings.Contains(strings.ToLower(line), "prometheus") {
				t.Errorf("%s has port 9090, which is that of Prometheus: %s", name, line)
			}
		}
	}
}

// elsewhere are flags that documents name in quotes of their own, and that are not the edge's.
var elsewhere = map[string]string{
	"json": "edge doctor", "modified": "the end of a commit's name", "live": "edge healthcheck", "timeout": "edge healthcheck", "bench": "go test", "away": "bench/upgrade", "wait-most": "bench/local", "back-most": "bench/local", "alerts": "bench/local", "short": "make hostile", "edge-binary": "make hostile", "rewrite": "go test",
	"trace-one-in": "marketdata", "long-faults": "go test ./cmd/edge", "broken-long": "go test ./cmd/edge", "broken-seed": "go test ./cmd/edge", "broken-only": "go test ./cmd/edge", "broken-alone": "go test ./cmd/edge",
}

// Every flag that a document names, and every variable that a file sets, is there; and where a
// document has a flag's value behind it, that is its default.
func TestFlagsThatAreNamedExist(t *testing.T) {
	t.Parallel()
	flags, checked := newConfig().flags, 0
	for name, text := range shipped(t) {
		others := slices.Contains([]string{"docs/BUDGET.md", "docs/MARKETDATA.md", "docs/ALERTS.md", "docs/RELEASES.md", "docs/METRICS.md", "docs/RUNBOOKS.md"}, name) // About bench and other programs.
		if !others && strings.HasSuffix(name, ".md") {
			for _, m := range regexp.MustCompile("`-([a-z][a-z-]*)[` =]").FindAllStringSubmatch(text, -1) {
				if !isFlag(m[1]) && elsewhere[m[1]] == "" {
					t.Errorf("%s: there is no flag -%s", name, m[1])
				}
			}
		}
		for _, m := range regexp.MustCompile(`\bEDGE_([A-Z_]+)\b`).FindAllStringSubmatch(text, -1) {
			if regexp.MustCompile("_SERVICE_|_PORT").MatchString(m[0]) {
				continue // Kubernetes sets such for a service that is called edge.
			}
			if flag := strings.ToLower(strings.ReplaceAll(m[1], "_", "-")); !isFlag(flag) && m[0] != secretEnv && m[0] != tracesEnv {
				t.Errorf("%s: %s is no variable of the edge", name, m[0])
			}
		}
		for _, m := range regexp.MustCompile("`-([a-z-]+)` \\(?([0-9]+)( ?(?:s|m|ms|MiB|min)\\b)?").FindAllStringSubmatch(text, -1) {
			f := flags.Lookup(m[1])
			if f == nil {
				continue
			}
			checked++
			if is, want := m[2]+strings.TrimSpace(m[3]), f.DefValue; !sameValue(is, want) {
				t.Errorf("%s says %s, and the default is %s", name, m[0], want)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d values were compared", checked)
	}
}

// sameValue reports whether a document means the value of a flag.
func sameValue(said, is string) bool {
	if d, err := time.ParseDuration(said); err == nil {
		want, err := time.ParseDuration(is)
		return err == nil && d == want
	}
	if n, ok := strings.CutSuffix(said, "MiB"); ok {
		mib, _ := strconv.Atoi(n)
		said = strconv.Itoa(mib << 20)
	}
	return said == is
}

// What documents say of the number of loops is so, and they say it alike.
func TestLoopsFollowTheQuota(t *testing.T) {
	t.Parallel()
	files := shipped(t)
	if is := newConfig().flags.Lookup("loops").DefValue; is != strconv.Itoa(runtime.GOMAXPROCS(0)) {
		t.Errorf("-loops is %s by default, and the quota of the control group is in GOMAXPROCS alone, %d", is, runtime.GOMAXPROCS(0))
	}
	for name, want := range map[string]string{
		"docs/OPERATIONS.md": "no more than the CPU quota of its control group (a container's limit), rounded up, or 2",
		"docs/TUNING.md":     "**`-loops`** follow the CPU quota of the control group, as [OPERATIONS.md]",
	} {
		if text := strings.Join(strings.Fields(files[name]), " "); !strings.Contains(text, want) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
}

// The image says what it is, and whether it is well. The services of docker-compose.yml have a test of their own, in tools/compose.
func TestImage(t *testing.T) {
	t.Parallel()
	files := shipped(t)
	for _, label := range []string{"title", "description", "licenses", "version", "revision", "source"} {
		if value := find(t, files, "Dockerfile", `org\.opencontainers\.image\.`+label+`="([^"]+)"`); strings.HasPrefix(value, "$") &&
			!strings.Contains(files["Dockerfile"], "\nARG "+strings.TrimPrefix(value, "$")+"=") {
			t.Errorf("label %s is %s, which is no argument of the build", label, value)
		}
	}
	for _, want := range []string{`CMD ["/edge", "healthcheck"]`, `CMD ["/marketdata", "healthcheck"]`, `CMD ["/alerts", "healthcheck"]`} {
		if !strings.Contains(files["Dockerfile"], want) {
			t.Errorf("the images have no %s", want)
		}
	}
}
