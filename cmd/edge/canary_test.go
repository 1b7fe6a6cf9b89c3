// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/nettest"
)

// It needs apt-get install prometheus.
var canaryLong = flag.Bool("canary", false, "run the queries of docs/CANARY.md and a rollback on a real Prometheus: a minute")

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// queries returns the PromQL of docs/CANARY.md.
func queries(t *testing.T) (all []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?s)```promql\n(.*?)```").FindAllStringSubmatch(readFile(t, "docs", "CANARY.md"), -1) {
		all = append(all, m[1])
	}
	if len(all) < 5 {
		t.Fatalf("docs/CANARY.md has only %d queries", len(all))
	}
	return all
}

const sloRules = "deploy/kubernetes/tickedge/rules/slo.yaml"

// The rules of a canary, and what docs/CANARY.md asks for, are made of metrics that an edge has, and of each other.
func TestCanaryRulesNameMetrics(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo")
	_, metrics := e.get("/metrics")
	rules := readFile(t, sloRules)
	recorded := make(map[string]bool)
	for _, m := range regexp.MustCompile(`record: (\S+)`).FindAllStringSubmatch(rules, -1) {
		recorded[m[1]] = true
	}
	named := 0
	document := readFile(t, "docs", "CANARY.md")
	names := regexp.MustCompile(`(?:track:)?\b(?:edge|process)_[a-z0-9_:]+`)
	for _, m := range names.FindAllString(rules+strings.Join(queries(t), "\n")+document, -1) {
		if strings.HasPrefix(m, "track:") {
			if named++; !recorded[m] {
				t.Errorf("no rule makes %s", m)
			}
			continue
		}
		if named++; !strings.Contains(metrics, "\n"+m+" ") && !strings.Contains(metrics, "\n"+m+"{") {
			t.Errorf("an edge has no metric %s", m)
		}
	}
	if named < 40 {
		t.Errorf("only %d names were looked at", named)
	}
	for name := range recorded {
		if !strings.Contains(document, name) {
			t.Errorf("docs/CANARY.md does not say what %s is", name)
		}
	}
	for _, reason := range regexp.MustCompile(`reason=~?"([a-z_|]+)"`).FindAllStringSubmatch(rules, -1) {
		for one := range strings.SplitSeq(reason[1], "|") {
			if !strings.Contains(metrics, `reason="`+one+`"`) {
				t.Errorf("an edge has no reason %s", one)
			}
		}
	}
}

// Of 100 clients, whoever they are, 5 have the canary, and always the same ones; who names a version has that.
func TestCanaryHasItsShare(t *testing.T) {
	t.Parallel()
	const which = "/which" // Only the canary knows it.
	stable, canary := start(t, "-demo", "-proxy-protocol"), start(t, "-demo", "-proxy-protocol", "-health-path", which)
	addr, dir := nettest.FreeAddr(t), t.TempDir()
	shares := filepath.Join(dir, "map")
	if err := os.WriteFile(shares, []byte(readFile(t, "deploy", "haproxy", "canary.map")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stableAdmin, _ := net.SplitHostPort(stable.admin)
	_, canaryAdmin, _ := net.SplitHostPort(canary.admin)
	proxy(t, changed(t, "haproxy/canary.cfg", map[string]string{
		`bind :443 .*`: "bind " + addr, `/etc/haproxy/canary\.map,`: shares + ",", `\tstats socket .*\n`: "",
		`127\.0\.0\.1:8080 port 8081`: stable.addr + " port " + stableAdmin, `127\.0\.0\.2:8080 port 8081`: canary.addr + " port " + canaryAdmin,
	}), "haproxy", "-db", "-f")
	ask := func(from, track string) (version *edge) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
		client := http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		req, err := http.NewRequest("GET", "http://"+addr+which, nil)
		if err != nil {
			t.Fatal(err)
		}
		if track != "" {
			req.Header.Set("X-Tickedge-Track", track)
		}
		var res *http.Response
		redistest.Eventually(t, "the proxy answers", func() bool {
			res, err = client.Do(req)
			return err == nil
		})
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		switch res.StatusCode {
		case http.StatusOK:
			return canary
		case http.StatusNotFound:
			return stable
		}
		t.Fatalf("status %d", res.StatusCode)
		return nil
	}
	redistest.Eventually(t, "the canary is known to be ready", func() bool { return ask("127.0.0.1", "canary") == canary })
	const clients = 400
	has := make(map[string]bool)
	for i := range clients {
		from := fmt.Sprintf("127.7.%d.%d", i/200, 1+i%200)
		if ask(from, "") == canary {
			has[from] = true
		}
	}
	if len(has) < clients*2/100 || len(has) > clients*9/100 {
		t.Errorf("%d of %d clients have the canary, want about 5 of 100", len(has), clients)
	}
	for from := range has {
		if ask(from, "") != canary || ask(from, "stable") != stable {
			t.Errorf("%s does not have what it had, or what it asks for", from)
		}
	}
	if ask("127.0.0.1", "") == canary && ask("127.0.0.1", "canary") != canary {
		t.Error("a tester does not have the canary")
	}
}

// prometheus runs a Prometheus with the rules of the chart, which scrapes edges by their tracks, and returns where it is.
func prometheus(t *testing.T, edges map[*edge]string) (addr string) {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("prometheus is missing: apt-get install prometheus")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	rules := write("slo.yaml", strings.Replace(readFile(t, sloRules), "interval: 15s", "interval: 1s", 1))
	config := "global: {scrape_interval: 1s, scrape_timeout: 1s}\nrule_files: [" + rules + "]\n" +
		"scrape_configs:\n  - job_name: edge\n    static_configs:\n"
	for e, track := range edges {
		config += fmt.Sprintf("      - {targets: [%q], labels: {namespace: prices, track: %s}}\n", e.admin, track)
	}
	addr = nettest.FreeAddr(t)
	cmd := exec.Command(path, "--config.file="+write("prometheus.yaml", config), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", &said)
		}
	})
	return addr
}

// asked returns what a Prometheus answers to a query: labels and values.
func asked(t *testing.T, addr, query string) (all []string) {
	t.Helper()
	client := http.Client{Timeout: patience}
	res, err := client.Get("http://" + addr + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return nil // It has just been started.
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusServiceUnavailable {
		return nil // It reads its data.
	}
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Status == "error" {
		t.Fatalf("%s: %v %s", query, err, answer.Error)
	}
	for _, r := range answer.Data.Result {
		all = append(all, fmt.Sprintf("%v %v", r.Metric, r.Value[1]))
	}
	return all
}

// keepTicking publishes ten ticks a second until the test ends. A server may end before.
func keepTicking(t *testing.T, servers ...*redisServer) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
				for _, r := range servers {
					_ = exec.Command("redis-cli", "-u", r.URL(), "PUBLISH", "channel:prices:AAPL", `{"p":1}`).Run()
				}
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

// A canary that is well is found well, and one that lost its broker is rolled back: by the rules, the queries and the script that
// docs/CANARY.md tells of, on a real Prometheus.
func TestCanaryIsRolledBack(t *testing.T) {
	if !*canaryLong {
		t.Skip("it takes a minute and a Prometheus: -canary")
	}
	redis, other := startRedis(t), startRedis(t)
	edges := map[*edge]string{
		start(t, "-source", redis.URL()): "stable", start(t, "-source", redis.URL()): "stable", start(t, "-source", other.URL()): "canary",
	}
	for e := range edges {
		for range 20 {
			c := e.dial("?topics=AAPL")
			go func() {
				for _, err := c.read(); err == nil; _, err = c.read() {
				}
			}()
		}
	}
	keepTicking(t, redis, other)
	addr := prometheus(t, edges)
	const breaches = `track:edge_slo_breaches == 0`
	redistest.Eventually(t, "both tracks are judged, and well", func() bool { return len(asked(t, addr, breaches)) == 2 })
	for _, query := range queries(t) {
		var answer []string
		redistest.Eventually(t, query, func() bool {
			answer = asked(t, addr, query)
			return len(answer) > 0
		})
		t.Logf("%s= %s", query, strings.Join(answer, "\n  "))
	}
	for _, m := range regexp.MustCompile(`record: (\S+)`).FindAllStringSubmatch(readFile(t, sloRules), -1) {
		answer := asked(t, addr, m[1])
		t.Logf("%s = %s", m[1], strings.Join(answer, "\n  "))
		if len(answer) != 2 {
			t.Errorf("%s has %d series, want one of each track", m[1], len(answer))
		}
	}
	judge := func(seconds string) (code int, said string) {
		rolled := filepath.Join(t.TempDir(), "rolled")
		cmd := exec.Command("../../deploy/kubernetes/judge", seconds, "touch", rolled)
		cmd.Env = append(os.Environ(), "PROMETHEUS=http://"+addr, "NAMESPACE=prices", "LOOK=1")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		code = cmd.ProcessState.ExitCode()
		if _, err := os.Stat(rolled); (err == nil) != (code == 1) {
			t.Errorf("code %d, and it was rolled back: %v", code, err == nil)
		}
		return code, string(out)
	}
	code, said := judge("5")
	if t.Log(said); code != 0 {
		t.Errorf("a canary that is well: code %d", code)
	}
	other.Kill()
	code, said = judge("60")
	if t.Log(said); code != 1 || !strings.Contains(said, "it breaks 1 of its promises") {
		t.Errorf("a canary without a broker: code %d", code)
	}
	if still := asked(t, addr, `track:edge_slo_breaches{track="stable"} == 0`); len(still) != 1 {
		t.Errorf("the others are not well: %q", asked(t, addr, "track:edge_slo_breaches"))
	}
	addr = nettest.FreeAddr(t)
	if code, said = judge("60"); code != 1 || !strings.Contains(said, "nobody sees how it is") {
		t.Errorf("without a Prometheus: code %d, %s", code, said)
	}
}
