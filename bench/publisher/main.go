// SPDX-License-Identifier: Apache-2.0

// Command publisher publishes ticks of many topics into a Redis or a NATS over one connection,
// at rates that cmd/tickgen does not reach: its commands are made once, and only the times in
// them change. It is the source of ticks of bench feed. It speaks the brokers' protocols itself, as
// no client library is as cheap as that.
//
// On SIGTERM it stops, waits for the answers that are still to come, and prints what it did
// as one line of JSON.
//
//	main.go     flags
//	publish.go  the connection, the pace
//	ring.go     the commands
//	moving.go   values that move
//	replies.go  what the broker answers
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
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

// config is what the flags say.
type config struct {
	addr    string
	nats    bool
	acked   bool   // By JetStream.
	subject string // What stands before the topic in a subject.
	topics  int
	wanted  int
	name    string
	rate    float64
	set     bool
	ver     bool
	moving  bool
	last    string // File.
	seed    uint64
}

// report is what a run did.
type report struct {
	Sent    uint64 `json:"sent"`    // Messages that the broker has answered.
	Wanted  uint64 `json:"wanted"`  // Those of them with a topic below -wanted.
	Unheard uint64 `json:"unheard"` // Those that nobody had subscribed to, as Redis says.
	// Forgone is how many were not sent because the debt was above debtMax.
	Forgone uint64 `json:"forgone"`
	// Blocked is the time in which the connection took nothing, as the broker did not read, or
	// too much was not answered.
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
	f.IntVar(&c.wanted, "wanted", 0, "topics, those with the lowest numbers, that are counted apart; 0 is all")
	f.BoolVar(&c.ver, "ver", false, "end each value with a version, as tickgen does")
	f.BoolVar(&c.moving, "moving", false, "values of some 130 bytes, as of a market, whose chg_pct (0 to 9.99) and v (1 to 9.99 million) move with each message")
	f.StringVar(&c.last, "last", "", "`file` for the last values of the topics of -wanted: a line each, the name, a tab, the value")
	f.Uint64Var(&c.seed, "seed", 1, "draws the order of the topics; the same seed draws the same")
	at := f.String("source", "redis://127.0.0.1:6379", "`URL` of the broker: redis://host:port, or nats://host:port?subject=md.{topic}, with &mode=jetstream to have each message acknowledged")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(stdout)
			f.Usage()
		}
		return nil, err
	}
	var all []error
	if err := c.locate(*at); err != nil {
		all = append(all, err)
	}
	if c.topics < 1 || c.topics > 10_000_000 {
		all = append(all, fmt.Errorf("-topics %d: want 1 to 10000000, such as -topics 1000", c.topics))
	}
	if c.wanted < 0 || c.wanted > c.topics {
		all = append(all, fmt.Errorf("-wanted %d: want 0 to -topics, such as -wanted 100", c.wanted))
	}
	if c.wanted == 0 {
		c.wanted = c.topics
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

// locate reads the URL of -source.
func (c *config) locate(text string) error {
	bad := errors.New("-source: want redis://host:port, or nats://host:port?subject=md.{topic}, such as redis://127.0.0.1:6379")
	u, err := url.Parse(text)
	if err != nil || u.Port() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return bad
	}
	c.addr = u.Host
	switch u.Scheme {
	case "redis":
		return nil
	case "nats":
		c.nats, c.acked = true, u.Query().Get("mode") == "jetstream"
		if subject := u.Query().Get("subject"); subject != "" {
			before, ok := strings.CutSuffix(subject, "{topic}")
			if !ok {
				return bad
			}
			c.subject = before
		}
		if c.set {
			return errors.New("-set: NATS has no keys")
		}
		return nil
	}
	return bad
}
