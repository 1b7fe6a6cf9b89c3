// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import "time"

// patience bounds every wait for a reaction that has no time of its own. It is only
// reached when the edge does not react.
const patience = 20 * time.Second

// plan says how much of everything there is.
type plan struct {
	short      bool
	only       string
	seed       uint64
	edgeBinary string // Of another edge than that of this tree.
	edgeArgs   []string
	gapMax     time.Duration // How long a subscriber may hear nothing.

	bytewise   int // Conns that send commands byte by byte.
	pongs      int
	pings      int
	mutations  int // Of streams, and as many of requests.
	closeCodes int // Each how many of the illegal close codes is sent.
	drips      int // Conns that send a request byte by byte, too slowly.
	silent     int // Conns that send nothing.
	churn      int // Conns that come and go.
	resets     int // Conns that reset while they are written to.
	stuck      int // Conns that do not read, each way of it.
	fill       int // Conns that subscribe 256 fresh topics each.
	fills      int // How often.
	idlers     int // Conns of plain HTTP that ask once, and that wait for a change.

	floodFor  time.Duration // Each kind.
	squatters int           // Conns of a wave.
	squatFor  time.Duration // How long waves come.
	squatArgs []string      // Of the edge that they come to.
	servedMax time.Duration // How long another client may wait for its values meanwhile.

	slowTimeout time.Duration // Of the edge.
	steadyRate  int           // Bytes per second that a slow but steady client reads,
	steadyFor   time.Duration // while topics tick for so long,
	fatSize     int           // with values of so many bytes.
	crowd       int           // Conns that read nothing, at once.
}

// long is `make hostile`: an edge with its default limits and timeouts.
func long() *plan {
	return &plan{
		gapMax: time.Second,
		// Fewer than come in all, so that places which are not given back run out.
		edgeArgs: []string{"-max-conns", "16000"},
		bytewise: 200, pongs: 1_000_000, pings: 200_000, mutations: 5000, closeCodes: 1,
		drips: 500, silent: 2000, churn: 50_000, resets: 1000, stuck: 20, fill: 400, fills: 3, idlers: 10_000, floodFor: 5 * time.Second,
		squatters: 15_000, squatFor: 5 * time.Minute, squatArgs: []string{"-max-conns", "16000"}, servedMax: time.Second,
		slowTimeout: 10 * time.Second, steadyRate: 20_000, steadyFor: time.Minute, fatSize: 4 << 10, crowd: 15_000,
	}
}

// brief is for CI: an edge with shorter timeouts, so that less is waited for. A machine
// of CI may itself stand still for seconds, so there a gap is only one that does not end.
func brief() *plan {
	return &plan{
		short:  true,
		gapMax: patience,
		edgeArgs: []string{
			"-max-conns", "600", "-handshake-timeout", "2s", "-slow-timeout", "3s", "-ping-interval", "1s", "-pong-timeout", "1s", "-max-topics-total", "3000", "-slow-rate", "5000", "-keep-alive", "2s",
		},
		bytewise: 50, pongs: 50_000, pings: 20_000, mutations: 300, closeCodes: 331,
		drips: 100, silent: 300, churn: 1500, resets: 60, stuck: 5, fill: 12, fills: 1, idlers: 300, floodFor: 300 * time.Millisecond,
		// Without the limits of new names and of those without a value, so that only the table is in their way.
		squatters: 400, squatFor: 10 * time.Second, servedMax: patience,
		squatArgs:   []string{"-max-conns", "600", "-max-topics-total", "20000", "-new-topics-rate-per-ip", "0", "-max-valueless", "0"},
		slowTimeout: 3 * time.Second, steadyRate: 100_000, steadyFor: 5 * time.Second, fatSize: 1 << 10, crowd: 300,
	}
}
