// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command local tries what deploy/local has brought up: clients come through its HAProxy, with TLS, and stay connected while an
// edge is drained and replaced, and an edge, Redis and marketdata are killed. It says what the clients saw.
//
//	main.go     the flags, what is done, and the table
//	clients.go  the clients
//	edges.go    what edges say of their clients
//	panels.go   the queries of the dashboard
//	alerts.go   the alerts that fire while something is away
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// wholeMost bounds how long clients may take until all are served.
const wholeMost = 2 * time.Minute

type config struct {
	conns, addresses   int
	addr, target       string
	data, script       string
	prometheus, board  string
	admins             []string
	drain, outage      time.Duration
	waitMost, backMost time.Duration
	alerting           bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "local: %v\n", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (*config, error) {
	c, admins, data := &config{}, "", os.Getenv("TICKEDGE_LOCAL")
	if data == "" {
		data = "/tmp/tickedge-local"
	}
	f := flag.NewFlagSet("local", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&c.conns, "conns", 3000, "clients")
	f.IntVar(&c.addresses, "addresses", 200, "addresses that they come from, of 127.0.1.0/24")
	f.StringVar(&c.addr, "addr", "127.0.0.57:8443", "where the proxy listens")
	f.StringVar(&c.target, "target", "/ws?topics=AAPL,MSFT,BTC-USD,EUR-USD,TSLA", "what they ask for")
	f.StringVar(&admins, "admins", "127.0.0.51:8081,127.0.0.52:8081,127.0.0.53:8081", "admin ports of edge1, edge2 and so on, by commas")
	f.StringVar(&c.data, "data", data, "the folder of deploy/local")
	f.StringVar(&c.script, "script", "../deploy/local/local", "what starts and ends programs")
	f.StringVar(&c.prometheus, "prometheus", "127.0.0.57:9190", "where Prometheus listens")
	f.StringVar(&c.board, "board", "../deploy/grafana/dashboard.json", "the dashboard whose queries Prometheus is asked at the end")
	f.DurationVar(&c.drain, "drain", 10*time.Second, "over how long an edge sends its clients away")
	f.DurationVar(&c.outage, "outage", 3*time.Second, "how long Redis and marketdata are away")
	f.DurationVar(&c.waitMost, "wait-most", 2*time.Second, "how long a client may wait for a row beside a drain, above what it was told")
	f.DurationVar(&c.backMost, "back-most", 10*time.Second, "how long a client may be without rows when something was killed, above -outage")
	f.BoolVar(&c.alerting, "alerts", false, "then leave an edge, Redis and marketdata away until Prometheus says so: five minutes more")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	c.admins = strings.Split(admins, ",")
	if f.NArg() > 0 || c.conns < 1 || c.addresses < 1 || c.addresses > 250 || len(c.admins) < 2 || c.drain <= 0 {
		return nil, errors.New("want flags as -name value: -conns above 0, -addresses up to 250, two -admins or more, and -drain above 0")
	}
	return c, nil
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	pem, err := os.ReadFile(filepath.Join(c.data, "haproxy", "ca.pem"))
	if err != nil {
		return fmt.Errorf("%w: begin with deploy/local/local up", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New("ca.pem has no certificate")
	}
	crowd := newCrowd(c.addr, c.target, c.conns, c.addresses, &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}})
	defer crowd.end()
	t := &trial{config: c, crowd: crowd, stdout: stdout, stderr: stderr}
	fmt.Fprintf(stdout, "load of the machine %s\n", load())
	began := time.Now()
	if err := crowd.hold(ctx); err != nil {
		return fmt.Errorf("%w: %v", err, crowd.now.Load().closings)
	}
	fmt.Fprintf(stdout, "%d clients connected and had rows in %.1f s\n", c.conns, time.Since(began).Seconds())
	if err := t.addressesSeen(ctx); err != nil {
		return err
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "done\tlost\ttold when\tall back after s\tlongest without a row s\toverdue s"+
		"\tconnects that failed\ttwice\tmost back in a second\teven rate\tthis program stood still s")
	t.table = table
	for _, step := range []func(context.Context) error{
		t.drained, t.killed("edge2"), t.away("redis"), t.away("marketdata"),
	} {
		if err := step(ctx); err != nil {
			table.Flush()
			return err
		}
	}
	table.Flush()
	if err := t.panels(ctx); err != nil {
		return err
	}
	if err := t.alerts(ctx); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "load of the machine %s\n", load())
	return errors.Join(t.wrong...)
}

// trial is what is done to the programs, and what was found.
type trial struct {
	*config
	crowd          *crowd
	table          io.Writer
	stdout, stderr io.Writer
	wrong          []error
}

func (t *trial) bad(format string, args ...any) {
	t.wrong = append(t.wrong, fmt.Errorf(format, args...))
}

// do has the script do something to a program.
func (t *trial) do(ctx context.Context, what, name string) error {
	fmt.Fprintf(t.stderr, "%s %s\n", what, name)
	cmd := exec.CommandContext(ctx, t.script, what, name)
	cmd.Env = append(os.Environ(), "TICKEDGE_LOCAL="+t.data)
	// Not a pipe: what it starts would hold that open.
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// drained replaces an edge as an upgrade does: it is drained, ends, and is started anew.
func (t *trial) drained(ctx context.Context) error {
	states, err := t.edges(ctx)
	if err != nil {
		return err
	}
	away := states[0].open
	p := t.crowd.begin()
	if err := t.do(ctx, "stop", "edge1"); err != nil {
		return err
	}
	if err := t.do(ctx, "start", "edge1"); err != nil {
		return err
	}
	if err := t.crowd.whole(ctx); err != nil {
		return fmt.Errorf("%w: %v", err, p.closings)
	}
	even := float64(away) / t.drain.Seconds()
	most := t.row("edge1 drained and replaced", p, even)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.lost < away:
		t.bad("%d clients were sent away, and edge1 had %d", p.lost, away)
	case p.told < p.lost:
		t.bad("%d clients were cut off without a word: %v", p.lost-p.told, p.closings)
	}
	if p.overdue > t.waitMost {
		t.bad("a client waited %v above what it was told, want %v at most", p.overdue, t.waitMost)
	}
	if float64(most) >= 2*even {
		t.bad("%d clients were back in a second, want less than twice the even rate of %.0f", most, even)
	}
	if p.twice > 0 {
		t.bad("%d clients failed twice", p.twice)
	}
	return nil
}

// killed kills an edge: its clients come back to the others, and it is started again when they are.
func (t *trial) killed(name string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		p := t.crowd.begin()
		if err := t.do(ctx, "kill", name); err != nil {
			return err
		}
		if _, err := t.crowd.fresh(ctx, time.Now()); err != nil {
			return fmt.Errorf("%w: %v", err, p.closings)
		}
		if err := t.crowd.whole(ctx); err != nil {
			return err
		}
		t.row(name+" killed", p, 0)
		t.backInTime(p, name, 0)
		return t.do(ctx, "start", name)
	}
}

// away kills what the edges live on, and starts it again after a while: clients stay connected.
func (t *trial) away(name string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		p := t.crowd.begin()
		if err := t.do(ctx, "kill", name); err != nil {
			return err
		}
		if err := pause(ctx, t.outage); err != nil {
			return err
		}
		if err := t.do(ctx, "start", name); err != nil {
			return err
		}
		up := time.Since(p.began)
		if _, err := t.crowd.fresh(ctx, time.Now()); err != nil {
			return err
		}
		t.row(fmt.Sprintf("%s killed, ready after %.1f s", name, up.Seconds()), p, 0)
		t.backInTime(p, name, up)
		if p.mu.Lock(); p.lost > 0 {
			t.bad("%d clients lost their connection when %s was killed: %v", p.lost, name, p.closings)
		}
		p.mu.Unlock()
		return nil
	}
}

func (t *trial) backInTime(p *phase, name string, outage time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.longest > outage+t.backMost {
		t.bad("a client was without a row for %v when %s was killed, want %v at most", p.longest, name, outage+t.backMost)
	}
}

// row writes a line of the table, and returns how many came back in the second with most of them.
func (t *trial) row(name string, p *phase, even float64) (most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, last := busiest(p.back)
	fmt.Fprintf(t.table, "%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%d\t%d\t%d\t%.0f\t%.2f\n", name, p.lost, p.told, last.Seconds(), p.longest.Seconds(),
		p.overdue.Seconds(), p.failed, p.twice, most, even, p.stall.Seconds())
	fmt.Fprintf(t.stderr, "%s: back in each second %v\n", name, histogram(p.back))
	for _, closing := range slices.Sorted(maps.Keys(p.closings)) {
		fmt.Fprintf(t.stderr, "%s: %d times %s\n", name, p.closings[closing], closing)
	}
	return most
}

// busiest is how many of some times are within a second of each other at most, and the last of them.
func busiest(times []time.Duration) (most int, last time.Duration) {
	times = slices.Sorted(slices.Values(times))
	for from, to := 0, 0; to < len(times); to++ {
		for times[to]-times[from] >= time.Second {
			from++
		}
		most, last = max(most, to-from+1), times[to]
	}
	return most, last
}

// histogram counts times by whole seconds.
func histogram(times []time.Duration) (seconds []int) {
	for _, d := range times {
		for len(seconds) <= int(d/time.Second) {
			seconds = append(seconds, 0)
		}
		seconds[d/time.Second]++
	}
	return seconds
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "is not known"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
