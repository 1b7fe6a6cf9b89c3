// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tickedge/internal/app"
)

// -check reads the files that it is given, and so does a start.
func TestFilesAreReadAtOnce(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	secret, short, pem := file("secret", aSecret+"\n"), file("short", "hunter2\n"), file("junk.pem", "hunter2\n")
	for _, check := range []string{"-check", "-check=false"} {
		for args, want := range map[string][]string{
			"-jwt-secret-file " + short: {"-jwt-secret-file: token secret file", "it has 7 bytes, want at least 32"},
			"-jwt-key-file " + pem:      {"-jwt-key-file: token key file", "no PEM block in it, want -----BEGIN PUBLIC KEY-----"},
			"-jwt-key-file " + dir:      {"-jwt-key-file: token key file", "is a directory"},
			"-redis rediss://h -redis-tls-ca " + pem + " -jwt-key-file /no":    {"-redis-tls-ca: redis TLS authorities", "-jwt-key-file: token key file"},
			"-redis rediss://h -redis-tls-cert " + pem + " -redis-tls-key /no": {"-redis-tls-cert and -redis-tls-key: redis TLS certificate and key"},
		} {
			// A port that can't be bound, lest an edge runs if nothing is found.
			var out, errs bytes.Buffer
			code := Main(context.Background(), append([]string{check, "-listen", "192.0.2.1:1"}, strings.Fields(args)...), nil, &out, &errs)
			for _, w := range want {
				if code != app.Usage || !strings.Contains(errs.String(), w) || strings.Contains(errs.String(), "hunter2") {
					t.Errorf("%s %s: code %d, want %q:\n%s", check, args, code, w, errs.String())
				}
			}
		}
	}
	code, stdout, stderr := program(t, "-jwt-secret-file", secret)
	if code != app.OK || !strings.Contains(stdout, "# secret of tokens: from the file "+secret+"\n# read and found good: "+secret+"\n") || strings.Contains(stdout+stderr, aSecret) {
		t.Errorf("code %d:\n%s%s", code, stdout, stderr)
	}
}

// -check says where each value is from, and where secrets are, which it does not show.
func TestCheckSaysWhatIsFromWhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(file, []byte("drain: 3s\nredis: [\"fx:*=redis://:hunter2@a\", redis://b]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(secretEnv, aSecret)
	t.Setenv("EDGE_INTERVAL", "1s")
	code, stdout, stderr := program(t, "-config", file, "-max-age", "1h")
	want := "# from the command line: -max-age, -config\n" +
		"# from the environment: -interval (EDGE_INTERVAL)\n" +
		"# from the file: -drain (" + file + ":1), -redis (" + file + ":2)\n" +
		"# secret of tokens: from EDGE_JWT_SECRET in the environment\n" +
		"# password of a source: from " + file + ":2\n"
	if code != app.OK || stderr != "" || !strings.HasSuffix(stdout, want) || strings.Contains(stdout, "hunter2") || strings.Contains(stdout, aSecret) ||
		!strings.Contains(stdout, "-source=fx:*=redis://:xxxxx@a\n-source=redis://b\n") || !strings.Contains(stdout, "-drain=3s\n") {
		t.Errorf("code %d, want at the end\n%s and got\n%s%s", code, want, stdout, stderr)
	}
	if _, stdout, _ = program(t, "-redis", "redis://:hunter2@a"); !strings.Contains(stdout, "# password of a source: from -redis on the command line, where all users of this host can read it") {
		t.Errorf("the command line is not warned of:\n%s", stdout)
	}
}

// The example file is one.
func TestExampleFile(t *testing.T) {
	file := filepath.Join("..", "..", "..", "deploy", "config", "edge.yaml")
	code, stdout, stderr := program(t, "-config", file)
	if code != app.OK || stderr != "" || !strings.Contains(stdout, "-topics=AAPL,MSFT,fx:*,crypto:*\n") {
		t.Errorf("code %d:\n%s%s", code, stdout, stderr)
	}
	// What it shows as a comment is right too.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(t.TempDir(), "edge.yaml")
	text = regexp.MustCompile(`(?m)^#([a-z-]+: )`).ReplaceAll(text, []byte("$1"))
	if err := os.WriteFile(all, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := program(t, "-config", all); code != app.OK || !strings.Contains(stdout, "-jwt-audience=prices\n") {
		t.Errorf("code %d:\n%s%s", code, stdout, stderr)
	}
}

// The version is one that was asked for, in whatever word.
func TestVersionIsTold(t *testing.T) {
	for _, args := range [][]string{{"-version"}, {"--version=true"}, {"-version=1"}, {"-version=T"}, {"version"}} {
		// A port that can't be bound, lest an edge runs.
		var out, errs bytes.Buffer
		if code := Main(context.Background(), append(args, "-listen", "192.0.2.1:1"), nil, &out, &errs); code != app.OK || !strings.HasPrefix(out.String(), "edge ") || errs.Len() > 0 {
			t.Errorf("%s: code %d, %s%s", args, code, out.String(), errs.String())
		}
	}
}

// Two ports that can be had are no mistake.
func TestPortsOfTwoAddresses(t *testing.T) {
	for _, args := range []string{"-listen 127.0.0.1:9 -admin 127.0.0.2:9", "-listen 0.0.0.0:9 -admin [::1]:9", "-listen :0 -admin :0", "-admin="} {
		if code, _, stderr := program(t, strings.Fields(args)...); code != app.OK {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}

// Help goes to stdout, with code 0, and names all flags however wide the terminal is.
func TestHelp(t *testing.T) {
	for _, columns := range []string{"", "45", "80", "200"} {
		t.Setenv("COLUMNS", columns)
		for _, args := range [][]string{{"-h"}, {"help"}, {"-bogus", "--help"}} {
			var out, errs bytes.Buffer
			if code := Main(context.Background(), args, nil, &out, &errs); code != app.OK || errs.Len() > 0 {
				t.Errorf("%s: code %d, %s", args, code, errs.String())
			}
			for name := range newConfig().flags.Names {
				if !strings.Contains(out.String(), "\n  -"+name+" ") {
					t.Errorf("%s columns: -%s is not in the help", columns, name)
				}
			}
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out, errs bytes.Buffer
		if code := Main(context.Background(), []string{"completion", shell}, nil, &out, &errs); code != app.OK || !strings.Contains(out.String(), "max-conns-per-ip") || !strings.Contains(out.String(), "doctor") {
			t.Errorf("%s: code %d, %s%s", shell, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := Main(context.Background(), []string{"completion", "cmd"}, nil, &out, &errs); code != app.Usage || !strings.Contains(errs.String(), "edge completion bash, zsh or fish") {
		t.Errorf("code %d, %s", code, errs.String())
	}
}

// A program has the board if it has the demo, unless that is asked to go without.
func TestDemoHasTheBoard(t *testing.T) {
	for args, want := range map[string]string{"-demo": "-page=true\n", "-demo -page=false": "-page=false\n", "": "-page=false\n", "-page": "-page=true\n"} {
		if code, stdout, stderr := program(t, strings.Fields(args)...); code != app.OK || !strings.Contains(stdout, want) {
			t.Errorf("%s: code %d, want %s:\n%s%s", args, code, want, stdout, stderr)
		}
	}
}
