// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tickedge/internal/app"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(context.Background(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestFlags(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	symbols := write("symbols.yaml", "symbols:\n  - {symbol: \"COINBASE:BTC-USD\", source: coinbase}\n  - {symbol: BTC, of: [\"COINBASE:BTC-USD\"]}\n  - {symbol: E, source: binance, vendor: ETHUSDT}\n  - {symbol: ALL, of: [E, \"COINBASE:BTC-USD\"]}\n")
	twice := write("twice.yaml", "symbols:\n  - {symbol: A, source: coinbase}\n  - {symbol: A, source: binance}\n")
	typo := write("typo.yaml", "symbols:\n  - {symbol: A, sorce: coinbase}\n")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"version", app.OK, "marketdata "},
		{"-h", app.OK, "marketdata brings trades"},
		{"completion fish", app.OK, "marketdata"},
		{"completion", app.Usage, "want a shell"},
		{"", app.Usage, "-in is empty: want where trades come from"},
		{"-in=sim -check", app.OK, "-in=sim"},
		{"-in=coinbse", app.Usage, "want some of coinbase, binance, finnhub, kafka, sim, file"},
		{"-in=coinbase,coinbase -symbols=COINBASE:BTC-USD", app.Usage, "coinbase twice"},
		{"-in=coinbase", app.Usage, "-symbols COINBASE:BTC-USD, or -symbols-file"},
		{"-in=coinbase -symbols=BTC-USD", app.Usage, "want an exchange and its name of a symbol, such as COINBASE:BTC-USD"},
		{"-in=binance -symbols=COINBASE:BTC-USD", app.Usage, "no symbol is from it: want for example -symbols BINANCE:BTCUSDT"},
		{"-in=coinbase -symbols-file=" + symbols + " -check", app.OK, "-symbols-file="},
		{"-in=coinbase -symbols=BTC -symbols-file=" + symbols + " -check", app.OK, "-symbols=BTC"},
		{"-in=coinbase -symbols=SOL -symbols-file=" + symbols, app.Usage, "-symbols-file has not"},
		{"-in=coinbase -symbols-file=" + twice, app.Usage, "it is there twice"},
		{"-in=coinbase -symbols-file=" + typo, app.Usage, "sorce"},
		{"-in=coinbase -symbols-file=/no/such", app.Usage, "no such file"},
		{"-in=finnhub -symbols=FINNHUB:AAPL", app.Usage, "-finnhub-key-file, or MARKETDATA_FINNHUB_KEY"},
		{"-in=sim -sim-rate=0", app.Usage, "-sim-rate: rate is 0, want"},
		{"-in=sim -intervals=7s", app.Usage, `-intervals: interval "7s" is not valid`},
		{"-in=sim -intervals=1m,1m", app.Usage, "are the same"},
		{"-in=sim -window=2h", app.Usage, "-window is 2h0m0s, want 0s to 1m0s"},
		{"-in=sim -bar-interval=1ms", app.Usage, "-bar-interval is 1ms, want 50ms to 1m0s"},
		{"-in=sim -broker=http://x", app.Usage, "-broker: broker URL is not valid: want redis://"},
		{"-in=sim -broker=redis://u:geheim@h:x", app.Usage, "-broker"},
		{"-in=sim -retention=1s=x", app.Usage, "want an interval and days such as 1s=7d"},
		{"-in=sim -origin=x/y", app.Usage, "-origin:"},
		{"-in=sim -trust-proxy=proxy", app.Usage, "-trust-proxy: \"proxy\" is no network or address, want one such as 10.0.0.0/8"},
		{"-in=sim -listen=x -history=h", app.Usage, "want host:port"},
		{"-in=file", app.Usage, "-in file and -file belong together"},
		{"-in=kafka -symbols=COINBASE:BTC-USD -history=h", app.Usage, "-kafka is missing: want where Kafka is, such as kafka://host:9092"},
		{"-in=kafka -symbols=COINBASE:BTC-USD -kafka=kafka://h:1", app.Usage, "-in kafka needs -checkpoints"},
		{"-in=kafka,sim -symbols=COINBASE:BTC-USD -kafka=kafka://h:1", app.Usage, "-in has kafka and others"},
		{"-in=kafka -history=h -kafka=kafka://h:1 -symbols-file=" + symbols, app.Usage, `symbol "ALL" is an alias of 2 symbols`},
		{"-in=kafka -history=h -symbols=COINBASE:BTC-USD -kafka=kafka://h:1 -kafka-bars=trades", app.Usage, "want two topics"},
		{"-in=kafka -history=h -symbols=COINBASE:BTC-USD -kafka=kafka://u:geheim@h:x", app.Usage, "-kafka"},
		{"-in=kafka -history=h -symbols=COINBASE:BTC-USD -kafka=kafka://h:1 -kafka-format=xml", app.Usage, "want protobuf or json"},
		{"-probe=kraken", app.Usage, "want one of coinbase, binance, finnhub"},
		{"backup", app.Usage, "backup: want a file first, such as marketdata backup bars.ndjson.gz -history bars"},
		{"restore -history=h bars.gz", app.Usage, "restore: want a file first"},
		{"backup x", app.Usage, "-history is missing"},
		{"-in=sim -broker=redis://u:geheim@h:1 -check", app.OK, "-broker=redis://u:xxxxx@h:1"},
	} {
		code, stdout, stderr := run(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%s: %d %s%s; want %d and %q", c.args, code, stdout, stderr, c.code, c.want)
		}
		if strings.Contains(stdout+stderr, "geheim") {
			t.Errorf("%s: the password is shown", c.args)
		}
	}
}

// A mistake in -in is told once: what follows from it is no mistake of its own.
func TestOneMistake(t *testing.T) {
	for _, arg := range []string{"-in=simm", "-in=", "-in=,"} {
		_, _, stderr := run(arg)
		if n := strings.Count(stderr, "\n"); n != 2 || !strings.Contains(stderr, "-in ") {
			t.Errorf("%s: %d lines, want one about -in and one about -h:\n%s", arg, n, stderr)
		}
	}
}

// The healthcheck asks the admin port that flags or the environment say.
func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintln(w, r.URL.Path)
	}))
	defer server.Close()
	t.Setenv("MARKETDATA_ADMIN", server.Listener.Addr().String())
	for _, c := range []struct {
		args        []string
		status      int
		code        int
		stdout, err string
	}{
		{nil, 200, app.OK, "/readyz\n", ""},
		{nil, 503, app.Failed, "", "marketdata healthcheck: http://" + server.Listener.Addr().String() + "/readyz: 503 Service Unavailable: /readyz\n"},
		{[]string{"-admin="}, 200, app.Usage, "", "set it, such as -admin 127.0.0.1:8091"},
		{[]string{"-timeout=0s"}, 200, app.Usage, "", "-timeout is 0s, want more than 0s"},
		{[]string{"now"}, 200, app.Usage, "", "belongs to no flag"},
	} {
		status = c.status
		code, stdout, stderr := run(append([]string{"healthcheck"}, c.args...)...)
		if code != c.code || stdout != c.stdout || !strings.Contains(stderr, c.err) {
			t.Errorf("%q, %d: code %d, %q, %q", c.args, c.status, code, stdout, stderr)
		}
	}
}
