// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tickedge/bench/internal/lab"
)

// What an attacker has to send against what the edge has to work for it, for each kind of
// thing that may be sent. Two figures count, and both are compared with an ordinary
// command's, which comes in a packet of its own at the rate that is permitted: a subscribe of
// one topic and its unsubscribe, in turn.
//
//   - The CPU for a byte, with as many of the kind as are let through at once, in full
//     packets. Bytes are those of IP packets: 40 more for each of 1,460 or fewer.
//   - The CPU that one conn takes with as many a second as it is let send for ever, each in
//     a packet of its own. Where there is no such limit it is one conn that sends all it can.
const (
	packetHead = 40   // IPv4 and TCP without options.
	segment    = 1460 // Of Ethernet.
	// ordinaryRate is how many ordinary commands a conn may send per second, and the
	// yardstick is measured before each yardstickEvery kinds.
	ordinaryRate   = 20
	yardstickEvery = 4
	// costMax is how many times an ordinary command's a cost may be.
	costMax = 5.0
	// packed is how many conns send at once, and steady how many send at the permitted rate.
	packed, steady = 40, 100
	// leadIn is for what a conn may send at once to be used up, measure for the figure.
	leadIn, measure = 3 * time.Second, 4 * time.Second
)

// ladder is the rates that are tried, per second. The highest at which nothing is refused
// is what one conn is let send. Limits by the second of the clock are 100.
var ladder = []float64{2000, 1000, 500, 200, 95, 50, 20, 15, 10, 7, 5, 4, 3, 2, 1.5, 1, 0.7, 0.5, 0.35, 0.25}

// kind is one kind of thing to send.
type kind struct {
	name  string
	first []byte // Sent once after the handshake, and answered.
	// message is the i-th of a conn, number the conn's.
	message func(number, i int) []byte
	// atOnce is how many are sent in full packets, all of which are let through.
	atOnce int
	// dribble sends each message byte by byte.
	dribble bool
	// once is what a conn sends instead of a WebSocket's handshake, to its end, and then what
	// it sends behind the 101.
	once func(number int) []byte
	then []byte
	// oneSource has all conns come from one address.
	oneSource bool
	// never is said of what has no permitted rate: a conn is closed after some of them.
	never bool
}

// cost is what was found of a kind.
type cost struct {
	kind
	size    float64 // Bytes of one, in full packets.
	each    float64 // Microseconds of one, in full packets.
	perByte float64 // Nanoseconds.
	rate    float64 // Let through per second and conn; infinite for as many as the edge takes, 0 for none.
	core    float64 // Share of a core that one conn takes at that rate.
}

// bigName is a topic with a value of the longest kind.
func bigName(i int) string { return fmt.Sprintf("BIG-%06d", i) }

// costs measures all kinds at one edge and writes the table. It reports whether all costs
// are as they should be.
func (p *plan) costs(ctx context.Context, out, log io.Writer) (good bool, err error) {
	l, err := lab.New(ctx, "", map[string]string{"costs": "true"})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if p.edgeBinary != "" {
		l.Use("cmd/edge", p.edgeBinary)
	}
	_, redis, err := l.Redis()
	if err != nil {
		return false, err
	}
	// Topics with values that the edge can fetch.
	values := func(i int) string { return fmt.Sprint(i) }
	bigValues := func(int) string { return `"\"` + strings.Repeat("v", 4000) + `\""` }
	if err := errors.Join(set(redis, list(universe, topicName), values), set(redis, list(universe, bigName), bigValues)); err != nil {
		return false, err
	}
	var all []cost
	var yardsticks []float64 // How a busy host is at a moment moves it most, so it is measured in between.
	measure := func(query string, kinds []kind, args ...string) error {
		server, err := l.Edge(redis, 1, append(args, "-page", "-max-topics-total", "2000000")...)
		if err != nil {
			return err
		}
		m := &costMeter{edge: &edge{lab: l, server: server, addr: server.Addr, ctx: ctx}, query: query}
		if err := m.holdAll(); err != nil {
			return err
		}
		for i, k := range kinds {
			if i%yardstickEvery == 0 {
				ordinary := costKinds()[0]
				core, err := m.steady(&ordinary, ordinaryRate)
				if err != nil {
					return err
				}
				yardsticks = append(yardsticks, core)
			}
			if !strings.Contains(k.name, p.only) && len(all) > 0 {
				continue
			}
			c, err := m.cost(k)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			fmt.Fprintf(log, "%-62s %8.1f µs %8.1f ns/byte  %8.4g/s %8.3f %% of a core\n", k.name, c.each, c.perByte, c.rate, 100*c.core)
			all = append(all, c)
		}
		return l.StopServer(server)
	}
	if err := measure("", costKinds()); err != nil {
		return false, err
	}
	t, err := newTokens()
	if err != nil {
		return false, err
	}
	if err := l.WriteFile("keys.pem", t.keys); err != nil {
		return false, err
	}
	if err := measure("?token="+t.good, t.kinds(), "-jwt-key-file", l.Path("keys.pem")); err != nil {
		return false, err
	}
	all[0].core, all[0].rate = median(yardsticks), ordinaryRate
	fmt.Fprintf(log, "an ordinary command's share of a core, each time: %.3f %%\n", scaled(yardsticks, 100))
	return costTable(out, all), l.Failed()
}

func scaled(of []float64, by float64) []float64 {
	of = slices.Clone(of)
	for i := range of {
		of[i] *= by
	}
	return of
}

// costTable writes the costs and compares them with the first.
func costTable(out io.Writer, all []cost) (good bool) {
	good = true
	unit := all[0]
	alone := unit.core / unit.rate * 1e9 / onWire(len(unit.message(0, 0)))
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| what is sent\t| bytes\t| µs each\t| ns per byte\t| × ordinary\t| one conn may, per second\t| % of a core\t| × ordinary\t|")
	fmt.Fprintln(t, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	times := func(x float64) string {
		if x > costMax {
			good = false
			return fmt.Sprintf("**%.1f**", x)
		}
		return fmt.Sprintf("%.1f", x)
	}
	yardstick := unit
	yardstick.name, yardstick.size = "**an ordinary command**: subscribe one topic, unsubscribe it, each in its packet", onWire(len(unit.message(0, 0)))
	yardstick.each, yardstick.perByte = unit.core/unit.rate*1e6, alone
	for _, c := range append([]cost{yardstick}, all...) {
		rate, core, ratio := "any number", fmt.Sprintf("%.3f", 100*c.core), times(c.core/unit.core)
		switch {
		case c.once != nil || c.never:
			rate, core, ratio = "—", "—", "—"
		case !math.IsInf(c.rate, 1):
			rate = fmt.Sprintf("%.3g", c.rate)
		}
		fmt.Fprintf(t, "| %s\t| %.0f\t| %.1f\t| %.0f\t| %s\t| %s\t| %s\t| %s\t|\n", c.name, c.size, c.each, c.perByte, times(c.perByte/alone), rate, core, ratio)
	}
	_ = t.Flush()
	return good
}
