// SPDX-License-Identifier: Apache-2.0

// Package exchange brings trades from where they are made: the sockets of exchanges, each in a file of its
// own, a recorded file, and a simulated market. It alone knows how exchanges are spoken to.
package exchange

import (
	"context"

	"tickedge/internal/trade"
)

// Sink takes what an inlet brings. Any goroutine may call it, those of one symbol one after the other.
type Sink interface {
	// Trade takes a trade that was checked. It waits while there is no room, unless the inlet is Live and
	// the symbol is not being filled: then the trade is dropped and counted.
	Trade(t trade.Trade)
	// Heard notes that a source has nothing older than a time, in Unix microseconds, on its way: what a
	// heartbeat says. Without symbol it is so for all that the source has.
	Heard(source string, symbol *trade.Symbol, at int64)
	// Gap tells of trades that were missed.
	Gap(g Gap)
	// Filling tells that a symbol's trades are being fetched (on), or that all is as if they had come live.
	// Its newest price and its bars are not told to anybody meanwhile.
	Filling(symbol *trade.Symbol, on bool)
}

// Gap is a run of trades that a source had and that did not come by its socket.
type Gap struct {
	Symbol   *trade.Symbol
	From, To int64 // The ids that are missing, both included. 0 and 0: not numbered, it is known by time alone.
	Since    int64 // In Unix microseconds: nothing of the symbol is missing before it.
	Until    int64 // Nothing is missing after it.
	Filled   bool  // All of them were fetched, and came before this call.
	Why      string
}

// Position is how far a symbol's trades are known to be stored: what comes after it is to be brought.
type Position struct {
	ID   int64 // Of the newest trade; 0 where there are no ids.
	Time int64 // In Unix microseconds; 0 if nothing is known.
}

// Inlet brings trades of some symbols until ctx ends. It reconnects by itself, and returns early only with
// an error that trying again would not mend.
type Inlet interface {
	// Run is called once. from says where each symbol is to be gone on from; it is asked once for each, before
	// anything is brought. What an inlet has brought since is where it goes on from at gaps. It returns nil
	// when ctx has ended, or when there is nothing more to bring, and after all calls of Sink have returned.
	Run(ctx context.Context, to Sink, from func(*trade.Symbol) Position) error
	// Live reports whether its trades can't be held up: a sink that is full drops them.
	Live() bool
	Stats() Stats
}

// Stats is what an inlet has done.
type Stats struct {
	Connected   int // Connections that bring trades now.
	Wanted      int // Connections that there should be.
	Trades      uint64
	Flawed      uint64 // Messages or trades that were skipped.
	Gaps        uint64 // Runs of trades that were missed.
	Filled      uint64 // Of these, how many were filled from the exchange's history.
	Missed      uint64 // Trades that could not be filled, by their ids.
	Repeated    uint64 // Trades that came again, by their ids, and were dropped.
	Connects    uint64
	Resets      uint64 // Connections that ended otherwise than by us.
	Silences    uint64 // Connections that were given up because nothing came.
	Banned      uint64 // Times that the exchange told us to slow down.
	ClockOffset int64  // How far the exchange's clock is ahead of ours, in microseconds, as far as heartbeats show it.
	LastError   string // Without keys.
}
