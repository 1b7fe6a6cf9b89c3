// SPDX-License-Identifier: Apache-2.0

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
		{"argument", nil, []string{"serve"}, []string{`edge has no command "serve": there are `, "doctor"}},
		{"all at once", nil, []string{"-check", "-interval", "1ms", "-listen", "8080", "-log-level", "loud", "-redis", "http://x", "-max-topics", "0"},
			[]string{"-interval is 1ms, want 100ms to 1m0s", `-listen is "8080", want host:port`, "-log-level", "redis", "-max-topics is 0"}},
		{"drain", nil, []string{"-check", "-drain-delay", "-1s", "-drain", "2h", "-retry-spread", "0s"},
			[]string{"-drain-delay is -1s, want 0s to 1h0m0s", "-drain is 2h0m0s, want 0s to 1h0m0s", "-retry-spread is 0s, want 1s to 10m0s"}},
		{"tolerance", nil, []string{"-check", "-resume-tolerance", "2m"}, []string{"-resume-tolerance is 2m0s, want 0s to 1m0s"}},
		{"stale", nil, []string{"-check", "-stale-floor", "-1s", "-stale-after", "200h"},
			[]string{"-stale-floor is -1s, want 0s to 168h0m0s", "-stale-after is 200h0m0s"}},
		{"slow clients", nil, []string{"-check", "-slow-rate", "0", "-max-backlog-total", "-5"},
			[]string{"-slow-rate is 0, want 1 to 1000000000", "-max-backlog-total is -5, want 1 to 1048576 MiB, or 0 for an eighth of the memory"}},
		{"no unit", nil, []string{"-interval", "500"}, []string{"-interval", "500"}},
		{"too many conns", nil, []string{"-check", "-max-conns", "999999999"}, []string{"-max-conns 999999999 needs", "the limit is", "LimitNOFILE"}},
		{"environment", []string{"EDGE_SLOW_TIMEOUT=soon"}, []string{"-check"}, []string{"EDGE_SLOW_TIMEOUT", "soon"}},
		{"demo and redis", nil, []string{"-check", "-demo", "-redis", "redis://x"}, []string{"-demo brings its own broker"}},
		{"unknown mode", nil, []string{"-check", "-redis-mode", "queue"}, []string{`redis mode is "queue", want channel, pattern or stream`}},
		{"mode stream without one", nil, []string{"-check", "-redis-mode", "stream"}, []string{"redis stream is missing"}},
		{"stream in another mode", nil, []string{"-check", "-redis-stream", "s"}, []string{`the redis stream is "s", but the mode is channel`}},
		{"version field", nil, []string{"-check", "-tick-version-field", "a.#"}, []string{`tick version field is "a.#"`, "such as seq or meta.ts"}},
		{"channel without topic", nil, []string{"-check", "-redis-channel", "prices"}, []string{"{topic}"}},
		{"password in a bad URL", nil, []string{"-check", "-redis", "redis://u:hunter2@h/seven"}, []string{"redis"}},
		{"sources", []string{"EDGE_REDIS=fx:*=redis://u:hunter2@h redis-sentinel://u:hunter2@h crypto:*=redis://h/hunter2"}, []string{"-check"},
			[]string{"source 2: only the last source may be without patterns", "source 3: redis URL is not valid", "source 3: the last source has to be without patterns"}},
		{"pattern", nil, []string{"-check", "-redis", "fx:{a}=redis://u:hunter2@h", "-redis", "redis://h"}, []string{"source 1: a pattern of topics is not valid"}},
		{"patterns", nil, []string{"-check", "-redis", strings.Repeat("abcdefghijklmnop*,", 2000) + "x*=redis://h", "-redis", "redis://h"},
			[]string{"source 1: its patterns have", "want at most 32768"}},
		{"cluster", nil, []string{"-check", "-redis", "redis-cluster://u:hunter2@h:1,h:2"}, []string{"want hash tags, for example channel:prices:{{topic}} and price:{{topic}}"}},
		{"cluster with a pattern", nil, []string{"-check", "-redis", "redis-cluster://h", "-redis-mode", "pattern"}, []string{`redis mode is "pattern": a Redis Cluster takes channel only`}},
		{"cluster with a stream", nil, []string{"-check", "-redis", "redis-cluster://h", "-redis-mode", "stream", "-redis-stream", "s"}, []string{`redis mode is "stream": a Redis Cluster takes channel only`}},
		{"TLS files", nil, []string{"-check", "-redis-tls-cert", "c.pem"}, []string{"no redis URL uses TLS", "certificate or key is missing"}},
		{"demo and sources in the environment", []string{"EDGE_REDIS=redis://h"}, []string{"-check", "-demo"}, []string{"-demo brings its own broker"}},
		{"origins", nil, []string{"-check", "-origin", "app.example.com,wss://b.example.com"},
			[]string{`-origin: origin "app.example.com" has no scheme, want for example https://app.example.com`, "-origin: origin \"wss://b.example.com\""}},
		{"two sources of keys", []string{"EDGE_JWT_SECRET=hunter2"}, []string{"-check", "-jwt-key-file", "keys.pem"},
			[]string{"-jwt-key-file and EDGE_JWT_SECRET are set, want one source of token keys"}},
		{"short secret", []string{"EDGE_JWT_SECRET=hunter2"}, []string{"-check"}, []string{"token secret: it has 7 bytes, want at least 32"}},
		{"tokens without keys", nil, []string{"-check", "-jwt-issuer", "me", "-jwt-leeway", "1s", "-max-sessions-per-user", "3"},
			[]string{"-jwt-issuer is set, and no source of token keys: set -jwt-secret-file", "-jwt-leeway is set", "EDGE_JWT_SECRET in the environment", "-max-sessions-per-user is set, and users are known by their tokens"}},
		{"token limits", nil, []string{"-check", "-jwt-jwks-url", "http://issuer.example/?key=hunter2", "-jwt-jwks-refresh", "1s", "-max-sessions-per-user", "-1"},
			[]string{"JWKS URL is not secure", "JWKS refresh is 1s, want 30s", "-max-sessions-per-user is -1, want 0 to 10000"}},
		{"types of tokens", []string{"EDGE_JWT_SECRET=hunter2-hunter2-hunter2-hunter2-hunter2"}, []string{"-check", "-jwt-type", "at+jwt,ID token,"},
			[]string{`token type is "ID token", want types such as JWT or at+jwt, or none`, `token type is ""`}},
		{"type without keys", nil, []string{"-check", "-jwt-type", "JWT"}, []string{"-jwt-type is set, and no source of token keys"}},
		{"names of the admin port", nil, []string{"-check", "-admin-host", "edge.example.com,http://edge:9090"},
			[]string{`-admin-host: "http://edge:9090" is no name of a host, want for example edge.example.com`, "without scheme and port"}},
		{"every name of the admin port", nil, []string{"-check", "-admin-host", "*"}, []string{`-admin-host: "*" is no name of a host`}},
		{"admission", nil, []string{"-check", "-trust-proxy", "10.0.0.0/8,0.0.0.0/0,proxy", "-max-conns-per-ip", "-1", "-conn-rate", "1000001", "-conn-burst-per-ip", "5"},
			[]string{"-trust-proxy: \"0.0.0.0/0\" is everybody", "-trust-proxy: \"proxy\" is no network", "-max-conns-per-ip is -1, want 0 to 10000000",
				"-conn-rate is 1000001, want 0 to 1000000", "-conn-burst-per-ip is set and -conn-rate-per-ip is not"}},
		{"costs", nil, []string{"-check", "-max-valueless", "-1", "-topics", "A,B C", "-new-topics-rate-per-ip", "-1", "-snapshot-rate-per-ip", "1000"},
			[]string{"-max-valueless is -1, want 0 to 4096", `-topics: "B C" is no topic, nor the beginning of one with a star behind it, such as fx:*`,
				"-new-topics-rate-per-ip is -1, want 0 to 1000000", "-snapshot-rate-per-ip is 1000, want 0 or 65536 to 256000000 bytes"}},
		{"no source, and more", nil, []string{"-check", "-redis=", "-redis-mode", "bogus", "-redis-channel", "nope"},
			[]string{"-redis: source is missing", `redis mode is "bogus"`, `redis channel is "nope"`}},
		{"new topics at once", nil, []string{"-check", "-max-topics", "300", "-new-topics-burst-per-ip", "299"}, []string{"-new-topics-burst-per-ip is 299, want -max-topics (300) or more"}},
		{"new topics", nil, []string{"-check", "-new-topics-rate-per-ip", "0", "-new-topics-burst-per-ip", "300"}, []string{"-new-topics-burst-per-ip is set and -new-topics-rate-per-ip is not"}},
		{"burst", nil, []string{"-check", "-conn-rate", "1", "-conn-burst", "-2"}, []string{"-conn-burst is -2, want 0 to 1000000"}},
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
	for _, want := range []string{"-max-conns=1234\n", "-drain=3s\n", "-interval=250ms\n", "-source=rediss://u:xxxxx@example.com:6380/3\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "hunter2") {
		t.Error("the password is shown")
	}
	env := []string{"EDGE_JWT_SECRET=hunter2-hunter2-hunter2-hunter2-hunter2"}
	if code, out, stderr := runEdge(t, env, "-check", "-jwt-issuer", "me"); code != 0 || strings.Contains(out+stderr, "hunter2") || !strings.Contains(out, "-jwt-issuer=me\n") {
		t.Errorf("code %d, and the secret is shown or not taken:\n%s%s", code, out, stderr)
	}
	if code, out, stderr := runEdge(t, nil, "-check", "-jwt-jwks-url", "https://issuer.example/keys?key=hunter2"); code != 0 ||
		strings.Contains(out+stderr, "hunter2") || !strings.Contains(out, "-jwt-jwks-url=https://issuer.example/keys?xxxxx\n") {
		t.Errorf("code %d, and the query is shown:\n%s%s", code, out, stderr)
	}
	if code, out, _ := runEdge(t, nil, "-check", "-conn-rate", "600000", "-conn-rate-per-ip", "7"); code != 0 ||
		!strings.Contains(out, "-conn-burst=1000000\n") || !strings.Contains(out, "-conn-burst-per-ip=70\n") {
		t.Errorf("code %d, and the bursts are not what depends on the rates:\n%s", code, out)
	}
	for args, want := range map[string]string{
		"":                                   "-new-topics-burst-per-ip=1024\n",
		"-max-topics 4096":                   "-new-topics-burst-per-ip=16384\n",
		"-new-topics-rate-per-ip 1000":       "-new-topics-burst-per-ip=8000\n",
		"-new-topics-rate-per-ip 0":          "-new-topics-burst-per-ip=0\n",
		"-topics AAPL,fx:*":                  "-topics=AAPL,fx:*\n",
		"-snapshot-rate-per-ip 0":            "-snapshot-rate-per-ip=0\n",
		"-snapshot-rate-per-ip 65536":        "-snapshot-rate-per-ip=65536\n",
		"-snapshot-rate-per-ip 256000000":    "-snapshot-rate-per-ip=256000000\n",
		"-max-valueless 0 -command-rate 100": "-max-valueless=0\n",
	} {
		if code, out, stderr := runEdge(t, nil, append([]string{"-check"}, strings.Fields(args)...)...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: code %d %s, and %q is not in:\n%s", args, code, stderr, want, out)
		}
	}
	if code, out, _ := runEdge(t, nil, "-check", "-max-backlog-total", "17"); code != 0 || !strings.Contains(out, "-max-backlog-total=17\n") {
		t.Errorf("code %d, and the limit of backlogs is not as it was given:\n%s", code, out)
	}
	if _, out, _ := runEdge(t, nil, "-check"); strings.Contains(out, "-max-backlog-total=0\n") {
		t.Errorf("what depends on the memory is not shown:\n%s", out)
	}
	code, out, stderr = runEdge(t, []string{"EDGE_REDIS=x=redis://replaced"}, "-check", "-redis", "fx:*,crypto:*=redis://u:hunter2@a",
		"-redis", "redis-sentinel://:hunter2@b:1,c:2/prices?sentinel_password=hunter2")
	if code != 0 || strings.Contains(out+stderr, "hunter2") ||
		!strings.Contains(out, "-source=fx:*,crypto:*=redis://u:xxxxx@a\n-source=redis-sentinel://:xxxxx@b:1,c:2/prices?sentinel_password=xxxxx\n") {
		t.Errorf("code %d, and the sources are not as they were given: %s\n%s", code, stderr, out)
	}
	// What -check prints can be given back, but for the comments.
	for _, args := range [][]string{strings.Fields(withoutComments(out)), {"-demo", "-new-topics-rate-per-ip", "0", "-conn-rate", "5"}} {
		_, out, _ := runEdge(t, nil, append([]string{"-check"}, args...)...)
		out = withoutComments(out)
		code, again, stderr := runEdge(t, nil, append([]string{"-check"}, strings.Fields(out)...)...)
		if code != 0 || out == "" || withoutComments(again) != out {
			t.Errorf("code %d %s\n%s\nbecame\n%s", code, stderr, out, again)
		}
	}
}

func withoutComments(text string) (rest string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			rest += line
		}
	}
	return rest
}

func TestHelpNamesEveryFlag(t *testing.T) {
	t.Parallel()
	code, out, _ := runEdge(t, nil, "-h")
	if code != 0 {
		t.Errorf("code %d", code)
	}
	for _, name := range []string{"listen", "admin", "redis", "redis-channel", "redis-key", "redis-tls-ca", "redis-tls-cert", "redis-tls-key", "redis-mode", "redis-stream", "tick-version-field", "demo", "page", "loops",
		"interval", "max-conns", "max-topics", "slow-timeout", "idle-timeout", "handshake-timeout", "ping-interval",
		"drain", "log-level", "log-format", "check", "origin", "jwt-secret-file", "jwt-key-file", "jwt-jwks-url", "jwt-audience", "jwt-type", "admin-host",
		"max-sessions-per-user", "trust-proxy", "proxy-protocol", "max-conns-per-ip", "conn-rate", "conn-burst-per-ip", "stale-floor", "stale-after", "resume-tolerance", "ready-needs-feed",
		"topics", "max-valueless", "new-topics-rate-per-ip", "new-topics-burst-per-ip", "snapshot-rate-per-ip"} {
		if !strings.Contains(out, "\n  -"+name+" ") {
			t.Errorf("-%s is not in the help", name)
		}
	}
}
