// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tickedge/internal/app"
)

// program runs edge -check inside the test.
func program(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(context.Background(), append([]string{"-check"}, args...), nil, &out, &errs)
	return code, out.String(), errs.String()
}

// mistake is a wrong value of a flag, and what is said of it.
type mistake struct{ value, says string }

const aSecret = "open-sesame-open-sesame-open-sesame"

// mistakesOf are the flags for which any text is a value of the right kind.
var mistakesOf = map[string]mistake{
	"listen":             {"8080", `is "8080", want host:port such as :8080`},
	"source":             {"http://host", "want redis://[user:password@]host[:port][/db]"},
	"redis":              {"http://host", "want redis://[user:password@]host[:port][/db]"},
	"redis-channel":      {"prices", "want {topic} in it exactly once"},
	"redis-key":          {"price", "want {topic} in it exactly once"},
	"redis-mode":         {"queue", "want channel, pattern or stream"},
	"redis-stream":       {"ticks", "want mode stream, or no stream"},
	"redis-tls-ca":       {"/no/such.pem", "no such file"},
	"redis-tls-cert":     {"/no/such.pem", "want both, or neither"},
	"redis-tls-key":      {"/no/such.pem", "want both, or neither"},
	"tick-version-field": {"a.#", "such as seq or meta.ts"},
	"demo-symbols":       {"A,B C", `"B C"`},
	"topics":             {"B C", "such as fx:*"},
	"private":            {"alerts:*", "such as alerts: (without a star)"},
	"list-topics":        {"true", "want held, source or nothing"},
	"origin":             {"app.example.com", "want for example https://app.example.com"},
	"jwt-secret-file":    {"/no/such", "no such file"},
	"jwt-key-file":       {"/no/such.pem", "no such file"},
	"jwt-jwks-url":       {"http://issuer.example", "https://"},
	"jwt-issuer":         {"me", "no source of token keys: set -jwt-secret-file"},
	"jwt-audience":       {"prices", "no source of token keys: set -jwt-secret-file"},
	"jwt-revoked-file":   {"/no/such", "no such file"},
	"jwt-revoked-topic":  {"revoked", "want a name that no client can have"},
	"jwt-type":           {"ID token", "want types such as JWT or at+jwt"},
	"jwt-topics-claim":   {"sub", "want another such as topics"},
	"trust-proxy":        {"proxy", "want one such as 10.0.0.0/8"},
	"admin":              {"9090", `is "9090", want host:port such as 127.0.0.1`},
	"api":                {"8082", `is "8082", want host:port such as 127.0.0.1:8082`},
	"api-key-file":       {"/no/such", "no such file"},
	"api-tls-cert":       {"/no/such.pem", "want both"},
	"api-tls-key":        {"/no/such.pem", "want both"},
	"api-client-ca":      {"/no/such.pem", "need TLS"},
	"grpc":               {"8083", `is "8083", want host:port such as :8083`},
	"grpc-tls-cert":      {"/no/such.pem", "want both"},
	"grpc-tls-key":       {"/no/such.pem", "want both"},
	"grpc-client-ca":     {"/no/such.pem", "needs TLS"},
	"agent":              {"8084", `is "8084", want host:port such as 127.0.0.1:8084`},
	"admin-host":         {"http://edge", "want for example edge.example.com"},
	"trace-endpoint":     {"collector:4318", "want http://host:4318"},
	"trace-headers-file": {"/no/such", "no such file"},
	"log-level":          {"loud", "want debug, info, warn or error"},
	"log-format":         {"xml", "want text or json"},
	"path":               {"ws", "want"},
	"health-path":        {"healthz", "want"},
	"page-history":       {"history", "want"},
	"page-market":        {"market", "want"},
	"page-alerts":        {"alerts", "want"},
	"config":             {"/no/such.yaml", "no such file"},
}

// beside are the flags without which others have no effect.
var beside = map[string][]string{
	"page-history": {"-page"}, "page-market": {"-page"}, "page-alerts": {"-page", "-page-history=/history"},
	"conn-burst": {"-conn-rate=5"}, "conn-burst-per-ip": {"-conn-rate-per-ip=5"}, "jwt-jwks-refresh": {"-jwt-jwks-url=https://issuer.example"},
	"api-key-file": {"-api=127.0.0.1:8082"}, "api-client-ca": {"-api=127.0.0.1:8082"},
	"api-tls-cert": {"-api=127.0.0.1:8082", "-api-key-file=testdata/api-keys"}, "api-tls-key": {"-api=127.0.0.1:8082", "-api-key-file=testdata/api-keys"},
	"grpc-max-conns": {"-grpc=127.0.0.1:8083"}, "grpc-max-streams": {"-grpc=127.0.0.1:8083"},
	"grpc-tls-cert": {"-grpc=127.0.0.1:8083"}, "grpc-tls-key": {"-grpc=127.0.0.1:8083"}, "grpc-client-ca": {"-grpc=127.0.0.1:8083"},
	"grpc-api":     {"-grpc=127.0.0.1:8083", "-api=127.0.0.1:8082", "-api-key-file=testdata/api-keys"},
	"redis-tls-ca": {"-redis=rediss://h"}, "redis-tls-cert": {"-redis=rediss://h"}, "redis-tls-key": {"-redis=rediss://h"},
	"trace-headers-file": {"-trace-endpoint=https://h"},
}

// needs returns what has to be set for a flag to have an effect, and sets the secret of tokens.
func needs(t *testing.T, name string) []string {
	switch {
	case strings.HasPrefix(name, "demo-"):
		return []string{"-demo"}
	case name == "max-sessions-per-user", name == "jwt-type", name == "jwt-topics-claim", name == "jwt-leeway", name == "jwt-allow-no-exp",
		strings.HasPrefix(name, "jwt-revoked-"):
		t.Setenv(secretEnv, aSecret)
	}
	return beside[name]
}

// mistakes are wrong values of a flag: one that is not of its kind, and one below its range. Where
// any text is of the right kind, mistakesOf has one.
func mistakes(t *testing.T, f *flag.Flag) (all []mistake) {
	var value any
	if getter, ok := f.Value.(flag.Getter); ok {
		value = getter.Get()
	}
	switch value.(type) {
	case bool:
		return []mistake{{"maybe", `is "maybe", want true or false`}}
	case int:
		return []mistake{{"many", `is "many", want a whole number such as`}, {"1.5", `is "1.5", want a whole number`}, {"-1", "is -1, want "}}
	case uint64:
		return []mistake{{"-1", `is "-1", want a whole number such as`}}
	case float64:
		return []mistake{{"1,5", `is "1,5", want a number such as`}, {"-1", "is -1, want "}, {"NaN", "is NaN, want "}}
	case time.Duration:
		return []mistake{{"5", `is "5", want a duration such as`}, {"-1s", "is -1s, want "}}
	}
	m, ok := mistakesOf[f.Name]
	if !ok {
		t.Errorf("-%s has no wrong value here", f.Name)
	}
	return []mistake{m}
}

// eachFlag calls do with every flag, its wrong values, and what has to stand beside it.
func eachFlag(t *testing.T, do func(t *testing.T, name string, m mistake, args []string)) {
	c := newConfig()
	seen := 0
	for name := range c.flags.Names {
		if name == "check" || name == "version" {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) {
			f := c.flags.Lookup(name)
			if name == "redis" || name == "source" {
				do(t, name, mistakesOf[name], nil)
				return
			}
			for _, m := range mistakes(t, f) {
				do(t, name, m, needs(t, name))
			}
		})
	}
	if seen < 65 {
		t.Errorf("only %d flags were found", seen)
	}
}

// lineOf returns the line of an answer that says something.
func lineOf(answer, says string) string {
	for line := range strings.Lines(answer) {
		if strings.Contains(line, says) {
			return line
		}
	}
	return ""
}

// Who mistypes anything in the table of flags is told which, what is right, and code 2.
func TestEveryWrongFlagIsTold(t *testing.T) {
	eachFlag(t, func(t *testing.T, name string, m mistake, args []string) {
		code, stdout, stderr := program(t, append(args, "-"+name+"="+m.value)...)
		if line := lineOf(stderr, m.says); code != app.Usage || stdout != "" || !regexp.MustCompile(`-`+name+`\b`).MatchString(line) {
			t.Errorf("-%s=%s: code %d, want a line with the flag and %q:\n%s", name, m.value, code, m.says, stderr)
		}
	})
}

// The same in the environment, which is named then.
func TestEveryWrongVariableIsTold(t *testing.T) {
	eachFlag(t, func(t *testing.T, name string, m mistake, args []string) {
		env := envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		t.Setenv(env, m.value)
		code, stdout, stderr := program(t, args...)
		if line := lineOf(stderr, m.says); code != app.Usage || stdout != "" || !strings.Contains(line, env) {
			t.Errorf("%s=%s: code %d, want a line with the variable and %q:\n%s", env, m.value, code, m.says, stderr)
		}
	})
}

// The same in a file, where the line is named too.
func TestEveryWrongLineOfAFileIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edge.yaml")
	eachFlag(t, func(t *testing.T, name string, m mistake, args []string) {
		says := m.says
		if name == "config" {
			says = "can't be set in a file"
		}
		if err := os.WriteFile(file, []byte("# A file.\n"+name+": '"+m.value+"'\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := program(t, append(args, "-config", file)...)
		if line := lineOf(stderr, says); code != app.Usage || stdout != "" || !strings.Contains(line, file+":2") || !strings.Contains(line, name) {
			t.Errorf("%s: %s: code %d, want a line with the file, its line, the flag and %q:\n%s", name, m.value, code, says, stderr)
		}
	})
}

// A URL with a password that has come to the wrong flag is not shown, whatever is said of it.
func TestNoFlagShowsAPassword(t *testing.T) {
	const url = "redis://user:hunter2@host/?x=hunter2"
	eachFlag(t, func(t *testing.T, name string, _ mistake, args []string) {
		for _, given := range [][]string{{"-" + name, url}, {"-" + name + "x", url}, {"-" + name + "=" + url}, {"-" + name + url}} {
			if code, stdout, stderr := program(t, append(args, given...)...); strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("-%s: code %d, and it is shown:\n%s%s", name, code, stdout, stderr)
			}
		}
	})
}

// Flags that do nothing beside others are told, with the flag that makes them so.
func TestFlagsWithoutEffectAreTold(t *testing.T) {
	for args, want := range map[string]string{
		"-demo-rate 5 -demo-seed 7": "-demo-rate has no effect: -demo is not set",
		"-demo-symbols A":           "-demo-symbols has no effect: -demo is not set",
		"-demo-volatility 3":        "-demo-volatility has no effect: -demo is not set",
		"-admin= -admin-host edge":  "-admin-host has no effect: -admin is empty",
		"-admin= -ready-needs-feed": "-ready-needs-feed has no effect: -admin is empty",
		"-redis-mode stream -redis-stream s -redis-channel c{topic}": "-redis-channel has no effect: -redis-mode is stream",
		"-stale-floor 5s -stale-after 1m":                            "-stale-floor has no effect: -stale-after is set",
		"-command-rate 0 -command-burst 5":                           "-command-burst has no effect: -command-rate is 0",
		"-jwt-leeway 1s":                                             "-jwt-leeway is set, and no source of token keys",
		"-max-sessions-per-user 2":                                   "-max-sessions-per-user is set, and users are known by their tokens",
		"-conn-burst 5":                                              "-conn-burst is set and -conn-rate is not",
		"-conn-burst-per-ip 5":                                       "-conn-burst-per-ip is set and -conn-rate-per-ip is not",
		"-new-topics-rate-per-ip 0 -new-topics-burst-per-ip 300":     "-new-topics-burst-per-ip is set and -new-topics-rate-per-ip is not",
		"-redis-tls-ca ca.pem":                                       "no redis URL uses TLS",
		"-demo -redis redis://h":                                     "-demo brings its own broker: leave -redis out",
		"-redis a=redis://h":                                         "-redis: source: the last source has to be without patterns",
		"-listen :8081":                                              "-admin is 127.0.0.1:8081 and -listen is :8081: want another port for one of them",
		"-listen 127.0.0.1:9 -admin 0.0.0.0:9":                       "-admin is 0.0.0.0:9 and -listen is 127.0.0.1:9: want another port",
	} {
		code, _, stderr := program(t, strings.Fields(args)...)
		if code != app.Usage || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, want %q:\n%s", args, code, want, stderr)
		}
	}
	t.Setenv(secretEnv, aSecret)
	if code, _, stderr := program(t, "-jwt-jwks-refresh", "1m"); code != app.Usage || !strings.Contains(stderr, "-jwt-jwks-refresh has no effect: -jwt-jwks-url is not set") {
		t.Errorf("code %d: %s", code, stderr)
	}
}

// A mistyped command is named, with those that there are.
func TestUnknownCommand(t *testing.T) {
	for arg, want := range map[string]string{
		"doctr": `edge has no command "doctr": did you mean doctor? there are completion, doctor, healthcheck, help, plan, version, and every setting is a flag`,
		"serve": `edge has no command "serve": there are completion, doctor, healthcheck, help, plan, version, and every setting is a flag`,
	} {
		var out, errs bytes.Buffer
		if code := Main(context.Background(), []string{arg, "-check"}, nil, &out, &errs); code != app.Usage || !strings.Contains(errs.String(), want) {
			t.Errorf("code %d: %s%s", code, out.String(), errs.String())
		}
	}
}

// All that is wrong is said in one run, of whatever kind it is.
func TestMistakesAreToldAtOnce(t *testing.T) {
	t.Setenv("EDGE_DRAIN", "5")
	t.Setenv("EDGE_MAX_CONS", "5")
	file := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(file, []byte("page: ja\nlog-lvl: info\nmax-topics: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := program(t, "-interval", "5", "-lisen", ":1", "-idle-timeout", "1ms", "-config", file, "-jwt-key-file", "/no/such.pem", "-max-conns", "999999999", "-demo-rate", "7")
	for _, want := range []string{
		"warning: EDGE_MAX_CONS in the environment is no variable of edge; did you mean EDGE_MAX_CONNS?",
		`EDGE_DRAIN is "5", want a duration such as 10s`, `-interval is "5", want a duration such as 500ms`, "unknown flag -lisen: did you mean -listen?",
		"-idle-timeout is 1ms, want", file + `:1: page is "ja", want true or false`, file + ":2: unknown flag log-lvl: did you mean log-level?",
		"-max-topics (" + file + ":3) is 0, want", "-jwt-key-file: token key file: open /no/such.pem: no such file", "-max-conns 999999999 needs",
		"-demo-rate has no effect", "edge -h lists all flags",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in:\n%s", want, stderr)
		}
	}
	if code != app.Usage {
		t.Errorf("code %d", code)
	}
}
