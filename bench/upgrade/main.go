// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command upgrade replaces an edge by another one on the same port again and again, as deploy/upgrade does, below clients that stay
// connected and a storm of others that connect, and counts what each of them sees.
//
//	main.go     the flags, the rounds and the table
//	clients.go  the clients
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"tickedge/bench/internal/lab"
)

// migratePath is the setting that has the kernel move handshakes from a listener that is closed to another one on the port.
const migratePath = "/proc/sys/net/ipv4/tcp_migrate_req"

type config struct {
	conns, storm, rounds int
	drain, away          time.Duration
	migrate, abrupt      bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "upgrade: %v\n", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c config
	f := flag.NewFlagSet("upgrade", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&c.conns, "conns", 5000, "clients that stay connected")
	f.IntVar(&c.storm, "storm", 1000, "others that connect in a second")
	f.IntVar(&c.rounds, "rounds", 5, "upgrades with each setting")
	f.DurationVar(&c.drain, "drain", 5*time.Second, "over which the old edge sends its clients away")
	f.DurationVar(&c.away, "away", 0, "how long the last packet of each handshake takes, as with clients that are far away; 150ms at most")
	f.BoolVar(&c.migrate, "migrate", false, "the same with net.ipv4.tcp_migrate_req = 1 beside 0, and as it was at the end (root)")
	f.BoolVar(&c.abrupt, "kill", false, "kill the old edge in place of ending it: what its listeners hold is lost, or moved")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case f.NArg() > 0 || c.conns < 1 || c.storm < 1 || c.rounds < 1:
		return errors.New("want flags as -name value, and numbers above 0")
	case c.away < 0 || c.away > awayMost:
		return fmt.Errorf("-away is %v, want 0 to %v", c.away, awayMost)
	}
	l, err := lab.New(ctx, "", nil)
	if err != nil {
		return err
	}
	defer l.Close()
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "tcp_migrate_req\tupgrades\tstorm: connects\tserved\trefused\treset\t503\ttimeout\tlongest ms"+
		"\theld: sent away\tback\tconnects that failed")
	was, err := os.ReadFile(migratePath)
	if err != nil {
		return err
	}
	settings := []string{strings.TrimSpace(string(was))}
	if c.migrate {
		settings = []string{"0", "1"}
		defer os.WriteFile(migratePath, was, 0o644)
	}
	for _, setting := range settings {
		if c.migrate {
			if err := os.WriteFile(migratePath, []byte(setting), 0o644); err != nil {
				return fmt.Errorf("%w: -migrate needs root", err)
			}
		}
		if err := c.measure(ctx, l, setting, table, stderr); err != nil {
			return err
		}
	}
	return nil
}

// running is an edge.
type running struct {
	proc  *lab.Proc
	admin string
}

// start starts an edge on a port, and returns when it is ready.
func (c *config) start(l *lab.Lab, path, addr string) (*running, error) {
	admin, err := l.FreeAddr()
	if err != nil {
		return nil, err
	}
	p, err := l.Start(lab.Spec{Name: "edge", Path: path, Ready: func() error { return isReady(admin) },
		Args: []string{"-listen", addr, "-admin", admin, "-demo", "-drain", c.drain.String(), "-drain-delay", "1s"}})
	return &running{p, admin}, err
}

func isReady(admin string) error {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get("http://" + admin + "/readyz")
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// endMost bounds the end of an edge, beside its drain.
const endMost = 30 * time.Second

// end has an edge go, and waits until it has.
func (c *config) end(ctx context.Context, r *running) error {
	signal := syscall.SIGTERM
	if c.abrupt {
		signal = syscall.SIGKILL
	}
	if err := syscall.Kill(r.proc.PID, signal); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.drain+endMost)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for syscall.Kill(r.proc.PID, 0) == nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the old edge does not end: %w", ctx.Err())
		case <-look.C:
		}
	}
	return nil
}

// measure does all upgrades with one setting, and writes a line about them.
func (c *config) measure(ctx context.Context, l *lab.Lab, setting string, table, stderr io.Writer) error {
	path, err := l.Build("cmd/edge")
	if err != nil {
		return err
	}
	addr, err := l.FreeAddr()
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(addr)
	addr = net.JoinHostPort(host, port)
	old, err := c.start(l, path, addr)
	if err != nil {
		return err
	}
	crowd := newCrowd(addr, c.away)
	defer crowd.end()
	if err := crowd.hold(ctx, c.conns); err != nil {
		return err
	}
	crowd.storm(c.storm)
	for n := range c.rounds {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		next, err := c.start(l, path, addr)
		if err != nil {
			return err
		}
		if err := c.end(ctx, old); err != nil {
			return err
		}
		_ = l.Stop(old.proc) // It has ended, and is forgotten.
		old = next
		if err := crowd.whole(ctx, c.conns); err != nil {
			return err
		}
		fmt.Fprintf(stderr, "tcp_migrate_req=%s: upgrade %d of %d\n", setting, n+1, c.rounds)
	}
	crowd.end()
	s := &crowd.seen
	fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%d\t%d\t%d\n", setting, c.rounds, s.connects.Load(), s.served.Load(),
		s.refused.Load(), s.reset.Load(), s.unavailable.Load(), s.late.Load(), float64(s.longest.Load())/1e6, s.sentAway.Load(), s.back.Load(), s.failedBack.Load())
	return l.Stop(old.proc)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
