// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tickedge/internal/app"
	"tickedge/internal/tlstest"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(context.Background(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestFlags(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("app:0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	authority := tlstest.NewAuthority(t)
	cert, key := authority.Pair()
	good := []string{"-check", "-source=redis://u:hunter2x@127.0.0.1", "-store=a", "-key-file=" + keys, "-history=http://127.0.0.1:8090"}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{good, app.OK, "-history=http://127.0.0.1:8090"},
		{[]string{"version"}, app.OK, "alerts "},
		{[]string{"-h"}, app.OK, "alerts watches prices"},
		{[]string{"completion", "bash"}, app.OK, "alerts"},
		{[]string{"completion"}, app.Usage, "want a shell"},
		{[]string{"-check"}, app.Usage, "-source is missing"},
		{[]string{"-check"}, app.Usage, "-store is missing"},
		{[]string{"-check"}, app.Usage, "nobody could ask: want -key-file"},
		{append(good, "-open"), app.Usage, "-open asks for neither tokens nor keys"},
		{[]string{"-check", "-source=memory", "-store=a", "-open"}, app.Usage, "-listen or -grpc is not loopback"},
		{[]string{"-check", "-source=memory", "-store=a", "-open", "-listen=127.0.0.1:8100"}, app.OK, "-open\n"},
		{append(good, "-source=http://x"), app.Usage, "-source: source URL is not valid: want redis://"},
		{append(good, "-history=ftp://x"), app.Usage, "-history: the URL of the history is not valid: want http://host:port"},
		{append(good, "-history=", "-history-token-file=x"), app.Usage, "-history-token-file is for -history"},
		{append(good, "-lease=1s"), app.Usage, "-lease is 1s, want 2s to 1m0s"},
		{append(good, "-quota=0"), app.Usage, "-quota is 0, want 1 to"},
		{append(good, "-max-topics=1"), app.Usage, "-max-topics is 1, want"},
		{append(good, "-request-rate-per-ip=0"), app.Usage, "-request-rate-per-ip is 0"},
		{append(good, "-private=a:,b:"), app.Usage, "want one prefix"},
		{append(good, "-listen=x"), app.Usage, `-listen is "x", want host:port`},
		{append(good, "-price-member="), app.Usage, "-price-member is"},
		{append(good, "-quotta=1"), app.Usage, "-quota"},
		{append(good, "-grpc=:8102", "-grpc-tls-cert="+cert, "-grpc-tls-key="+key, "-grpc-client-ca="+authority.File), app.OK, "-grpc-client-ca="},
		{append(good, "-grpc-tls-cert="+cert, "-grpc-tls-key="+key), app.Usage, "-grpc-tls-cert has no effect: -grpc is not set"},
		{append(good, "-grpc=:8102", "-grpc-tls-cert="+cert), app.Usage, "want both or neither"},
		{append(good, "-grpc=:8102", "-grpc-tls-cert="+cert, "-grpc-tls-key="+cert), app.Usage, "-grpc-tls-cert: tls:"},
		{append(good, "-grpc=:8102", "-grpc-client-ca="+authority.File), app.Usage, "-grpc-client-ca needs TLS"},
		{append(good, "-grpc=:8102", "-grpc-tls-cert="+cert, "-grpc-tls-key="+key, "-grpc-client-ca="+key), app.Usage, "-grpc-client-ca: no certificate in"},
	} {
		code, stdout, stderr := run(c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%v: %d %s%s; want %d and %q", c.args, code, stdout, stderr, c.code, c.want)
		}
		if strings.Contains(stdout+stderr, "hunter2x") {
			t.Errorf("%v shows a password: %s%s", c.args, stdout, stderr)
		}
	}
}

// Metrics have names and texts of their own.
func TestMetrics(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range metrics {
		if seen[m.name] || m.help == "" || !strings.HasSuffix(m.help, ".") {
			t.Errorf("the metric %s is there twice, or its text is %q", m.name, m.help)
		}
		seen[m.name] = true
	}
}
