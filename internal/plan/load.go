// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"math"
	"time"

	"tickedge/internal/doctor"
)

// Transport is what clients speak.
type Transport string

// The transports.
const (
	WebSocket Transport = "ws"
	Events    Transport = "sse"
)

// Load is what is planned for.
type Load struct {
	Clients     int64         `json:"clients"`
	Topics      int           `json:"topics"` // Of each client.
	Symbols     int           `json:"symbols"`
	TickRate    float64       `json:"tick_rate"` // Per second and symbol.
	Window      time.Duration `json:"window_ns"`
	RowBytes    int           `json:"row_bytes"`
	Transport   Transport     `json:"transport"`
	TLS         bool          `json:"tls"`
	Edges       int           `json:"edges"` // 0: as many as it takes.
	Cores       int           `json:"cores_per_host"`
	EgressPrice float64       `json:"egress_price"` // Per GB; 0 if it is not asked for.
	RetrySpread time.Duration `json:"retry_spread_ns"`
	FrameCost   time.Duration `json:"frame_cost_ns"` // Of a processor, without rows and ticks.
	Limits      Limits        `json:"limits"`
}

// Limits are what an edge has by default.
type Limits struct {
	Topics      int   `json:"max_topics"`
	TopicsTotal int   `json:"max_topics_total"`
	Reserve     int64 `json:"file_reserve"` // Files for everything that is no connection.
}

// The ranges are wider than any use, and so narrow that no product overflows.
const (
	clientsMost = 1_000_000_000
	topicsMost  = 4096 // Of -max-topics.
	symbolsMost = 10_000_000
	rateMost    = 1_000_000
	rowMost     = 64 << 10
	windowLeast = 100 * time.Millisecond // Those of -interval.
	windowMost  = time.Minute
	edgesMost   = 100_000
	coresMost   = 1024
	priceMost   = 1000
	spreadMost  = time.Hour
	frameLeast  = 100 * time.Nanosecond
	frameMost   = 10 * time.Millisecond
)

// Validate returns all that is wrong, a line each that begins with the flag, or nil.
func (l Load) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	whole := func(flag string, is, least, most int64, example string) {
		if is < least || is > most {
			bad("-%s is %d, want %d to %d, such as -%[1]s %[5]s", flag, is, least, most, example)
		}
	}
	number := func(flag string, is, most float64, example string) {
		if !(is >= 0) || is > most || math.IsInf(is, 0) {
			bad("-%s is %v, want 0 to %.0f, such as -%[1]s %[4]s", flag, is, most, example)
		}
	}
	span := func(flag string, is, least, most time.Duration, example string) {
		if is < least || is > most {
			bad("-%s is %v, want %v to %v, such as -%[1]s %[5]s", flag, is, least, most, example)
		}
	}
	whole("clients", l.Clients, 1, clientsMost, "100000")
	whole("topics", int64(l.Topics), 1, topicsMost, "20")
	whole("symbols", int64(l.Symbols), 1, symbolsMost, "5000")
	number("tick-rate", l.TickRate, rateMost, "2")
	whole("row-bytes", int64(l.RowBytes), 1, rowMost, "100")
	whole("cores-per-host", int64(l.Cores), 1, coresMost, "8")
	if l.Edges != 0 { // 0 is auto.
		whole("edges", int64(l.Edges), 1, edgesMost, "6")
	}
	number("egress-price", l.EgressPrice, priceMost, "0.08")
	span("window", l.Window, windowLeast, windowMost, "500ms")
	span("retry-spread", l.RetrySpread, 0, spreadMost, "10s")
	span("frame-cost", l.FrameCost, frameLeast, frameMost, "8us")
	if l.Topics > l.Symbols && l.Symbols > 0 {
		bad("-topics is %d and -symbols is %d: a client can't have more topics than there are", l.Topics, l.Symbols)
	}
	if l.Transport != WebSocket && l.Transport != Events {
		bad("-transport is %q, want %s (WebSocket) or %s (server-sent events)", string(l.Transport), WebSocket, Events)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if feed, has := feedCores(l.ticks(), l.Symbols), doctor.MostBusy*float64(l.Cores); feed >= has {
		bad("-cores-per-host is %d, and the feed of an edge takes %s cores with %s ticks a second (%d symbols × %v): "+
			"want more cores, or plan for edges that have a part of the symbols each", l.Cores, short(feed), rate(l.ticks()), l.Symbols, l.TickRate)
	}
	return errors.Join(errs...)
}

// ticks is how many there are in a second, of all symbols.
func (l Load) ticks() float64 { return float64(l.Symbols) * l.TickRate }
