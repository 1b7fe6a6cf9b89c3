// SPDX-License-Identifier: Apache-2.0

// Command publisher publishes ticks of many topics into a Redis over one connection, at
// rates that cmd/tickgen does not reach: its commands are made once, and only the times in
// them change. It is the source of ticks of bench feed.
//
// On SIGTERM it stops, waits for the answers that are still to come, and prints what it did
// as one line of JSON.
//
//	main.go     flags, the pace
//	ring.go     the commands
//	replies.go  what Redis answers
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	exitGood   = 0
	exitFailed = 1
	exitUsage  = 2
)

const (
	// every is the least time between two writes. Redis then gets some 200 messages at a
	// time at the highest rates, and hands them on at once.
	every = time.Millisecond
	// debtMax bounds what is made up for after a time in which Redis or this process did
	// not get on. What is above it is never sent, and shows as a lower rate.
	debtMax = 50 * time.Millisecond
	// patience bounds the wait for the last answers.
	patience = 5 * time.Second
)

// config is what the flags say.
type config struct {
	addr   string
	topics int
	name   string
	rate   float64
	set    bool
	seed   uint64
}

// report is what a run did.
type report struct {
	Sent    uint64 `json:"sent"`    // Messages that Redis has answered.
	Unheard uint64 `json:"unheard"` // Those of them that nobody had subscribed to.
	// Forgone is how many were not sent because the debt was above debtMax.
	Forgone uint64 `json:"forgone"`
	// Blocked is the time in which the connection took nothing, as Redis did not read.
	Blocked time.Duration `json:"blocked_ns"`
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// run publishes until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitGood
	}
	if err != nil {
		fmt.Fprintln(stderr, "publisher:", err)
		return exitUsage
	}
	r, err := publish(ctx, c)
	if err == nil {
		err = json.NewEncoder(stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(stderr, "publisher:", err)
		return exitFailed
	}
	return exitGood
}

// parse reads the flags. The error is flag.ErrHelp or says the right form.
func parse(args []string, stdout io.Writer) (*config, error) {
	c := &config{}
	f := flag.NewFlagSet("publisher", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&c.topics, "topics", 100_000, "topics there are; each gets its turn in every round")
	f.StringVar(&c.name, "topic-name", "GEN-%06d", "`pattern` of topic names, filled with numbers from 0")
	f.Float64Var(&c.rate, "rate", 200_000, "messages per second, all topics together")
	f.BoolVar(&c.set, "set", false, "SET the key and PUBLISH in one MULTI, as publishers should; else PUBLISH only")
	f.Uint64Var(&c.seed, "seed", 1, "draws the order of the topics; the same seed draws the same")
	at := f.String("redis", "redis://127.0.0.1:6379", "`URL` of Redis: redis://host:port")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(stdout)
			f.Usage()
		}
		return nil, err
	}
	var all []error
	u, err := url.Parse(*at)
	if err != nil || u.Scheme != "redis" || u.Port() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		all = append(all, errors.New("-redis: want redis://host:port, such as redis://127.0.0.1:6379"))
	} else {
		c.addr = u.Host
	}
	if c.topics < 1 || c.topics > 10_000_000 {
		all = append(all, fmt.Errorf("-topics %d: want 1 to 10000000, such as -topics 1000", c.topics))
	}
	if !(c.rate > 0) || c.rate > 10e6 {
		all = append(all, fmt.Errorf("-rate %v: want messages per second above 0, such as -rate 1000", c.rate))
	}
	if text := fmt.Sprintf(c.name, 0); strings.Contains(text, "%!") || text == fmt.Sprintf(c.name, 1) {
		all = append(all, fmt.Errorf("-topic-name %q: want one %%d in it, such as -topic-name SYM%%04d", c.name))
	}
	if f.NArg() > 0 {
		all = append(all, fmt.Errorf("%q is not a flag: flags are given as -name value, such as -rate 1000", f.Arg(0)))
	}
	return c, errors.Join(all...)
}

// publish publishes until ctx ends, and then waits for the last answers.
func publish(ctx context.Context, c *config) (*report, error) {
	commands := newRing(c)
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	// From the end of ctx on, neither a write nor an answer may take for ever.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now().Add(patience)) })
	defer stop()

	var answers replies
	failed := make(chan error, 1)
	go func() { failed <- answers.read(conn) }()

	r := &report{}
	written, err := write(ctx, conn, commands, c.rate, r, failed)
	if err != nil {
		return nil, err
	}
	for answers.published.Load() < written {
		select {
		case err := <-failed:
			return nil, fmt.Errorf("%d of %d messages were answered: %w", answers.published.Load(), written, err)
		case <-time.After(every):
		}
	}
	r.Sent, r.Unheard = answers.published.Load(), answers.unheard.Load()
	return r, nil
}

// write writes commands at a rate until ctx ends or the answers fail, and returns how many
// messages are in them.
func write(ctx context.Context, conn io.Writer, commands *ring, rate float64, r *report, failed <-chan error) (written uint64, err error) {
	most := max(1, int(debtMax.Seconds()*rate))
	began, forgone := time.Now(), 0.0
	for {
		select {
		case <-ctx.Done():
			return written, nil
		case err := <-failed:
			return written, err
		case <-time.After(every):
		}
		now := time.Now()
		due := int(now.Sub(began).Seconds()*rate-forgone) - int(written)
		if due > most {
			forgone += float64(due - most)
			due = most
		}
		for due > 0 {
			text, n := commands.take(due, now)
			before := time.Now()
			if _, err := conn.Write(text); err != nil {
				return written, fmt.Errorf("write: %w", err)
			}
			// A write that nothing is in the way of takes some 0.1 ms.
			if took := time.Since(before); took > every {
				r.Blocked += took
			}
			written += uint64(n)
			due -= n
		}
		r.Forgone = uint64(forgone)
	}
}
