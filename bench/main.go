// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command bench opens many WebSocket conns to an edge and measures what each of them
// sees. It is a client only: it shares no code with the server.
//
//	main.go      the modes
//	flags.go     the flags of hold and what is wrong with them
//	hold.go      hold: connect, hold, stop; one line of progress a second
//	crew.go      swarms, in this process or in several
//	server.go    what the server's processes cost
//	result.go    the result of a hold, and whether it is good
//	text.go      the same for people
//	lab.go       what the modes share that start their own servers: flags, the run, holds
//	targets.go   the servers, and how each is told the same
//	stats.go     medians and ratios of rounds
//	outcome.go   what the results of these modes share; table.go: their tables
//	report.go    report.md of a run
//	goal.go      what the edge is meant to reach
//	all.go       all modes, one after the other
//	density.go   fanout.go, ticks.go, saturate.go, headroom.go, handshake.go, storm.go, slow.go, http.go, scale.go, soak.go, feed.go,
//	             publish.go, size.go, screens.go: a mode each, from its flags to what it adds to the report; feed_result.go is the second
//	             half of feed.go, feed_rows.go what it looks up in the end, feeds.go several brokers in turns; screens_result.go and screens_parts.go are the rest of
//	             screens.go
//	profile.go   what an edge spends its CPU on
package main

import (
	"fmt"
	"io"
	"os"
)

// What bench exits with.
const (
	exitGood  = 0
	exitBad   = 1 // Conns refused or lost, violations, or the run came to no end.
	exitUsage = 2
)

// mode is one kind of measurement.
type mode struct {
	name, does string
	run        func(args []string, stdout, stderr io.Writer) int
}

var modes = []mode{
	{"hold", "open conns, keep them and check what they get", runHold},
	{"all", "all of the following, one after the other, with a report and the goals", runAll},
	{"density", "memory per conn, idle and under fan-out: edge and bare gnet", runDensity},
	{"fanout", "CPU per frame and staleness: edge, floor, bare gnet and the usual designs", runFanout},
	{"ticks", "the edge with the same clients at several rates of ticks", runTicks},
	{"saturate", "frames per second on one core: edge, floor and bare gnet", runSaturate},
	{"headroom", "more and more clients on one core, and when edge_headroom_ratio says that it is full", runHeadroom},
	{"handshake", "CPU per handshake: edge, floor, bare gnet and the usual designs", runHandshake},
	{"storm", "what it does to those connected when many connect at once", runStorm},
	{"slow", "what clients that never read do to the others", runSlow},
	{"http", "requests for rows over plain HTTP beside conns, and what nginx would make of them", runHTTP},
	{"scale", "100,000 conns on one host, and how many of them it can give every frame", runScale},
	{"soak", "clients that come and go, and whether anything of them is left at the edge", runSoak},
	{"feed", "100,000 topics and 200,000 messages a second through one connection to a broker", runFeed},
	{"publish", "values that a client posts to the back office, into the memory broker and others", runPublish},
	{"screens", "what conditions add to a tick: clients with screens, beside the same with names", runScreens},
	{"size", "binary and memory of an edge without clients, beside those of another commit", runSize},
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		if args[0] == workerMode {
			return runWorker(os.Stdin, stdout, stderr)
		}
		for _, m := range modes {
			if args[0] == m.name {
				return m.run(args[1:], stdout, stderr)
			}
		}
		switch args[0] {
		case "-h", "-help", "--help", "help":
			usage(stdout)
			return exitGood
		}
		fmt.Fprintf(stderr, "bench: there is no mode %q\n", args[0])
	}
	usage(stderr)
	return exitUsage
}

// usage says which modes there are.
func usage(to io.Writer) {
	fmt.Fprintln(to, "usage: bench MODE [flags], such as: bench hold -addr 127.0.0.1:8080 -conns 10000")
	for _, m := range modes {
		fmt.Fprintf(to, "  %-10s %s\n", m.name, m.does)
	}
	fmt.Fprintln(to, "The flags of a mode: bench MODE -h, such as: bench hold -h")
}
