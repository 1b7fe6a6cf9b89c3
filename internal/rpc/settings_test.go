// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/auth"
	"tickedge/internal/guard"
	"tickedge/internal/tlstest"
)

// adjusted is the configuration of a server, with changes.
func (w *world) adjust(change func(cfg *Config)) {
	w.t.Helper()
	cfg := w.cfg
	change(&cfg)
	a, err := w.Prepare(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Adjust(a)
}

// A stream goes by the newest limits with its next command, and a request with its first look.
func TestAdjust(t *testing.T) {
	w := start(t, func(cfg *Config, _ *share) {
		cfg.Limits.MaxTopics, cfg.Limits.CommandRate, cfg.Limits.CommandBurst = 1, 1, 3
	})
	client := w.dial()
	s := w.stream(client)
	s.next() // Its hello.
	code := func(topics ...string) codes.Code {
		_, err := client.GetPrices(t.Context(), &pricesv1.GetPricesRequest{Topics: topics})
		return status.Code(err)
	}
	if got := code("A", "B"); got != codes.InvalidArgument {
		t.Errorf("two topics where there may be one: %v", got)
	}
	for id := range uint64(3) {
		s.subscribe(id+1, "A", "B")
		if m := s.next(); m[:5] != "error" {
			t.Fatalf("it hears %s", m)
		}
	}
	w.adjust(func(cfg *Config) {
		cfg.Limits.MaxTopics, cfg.Limits.CommandRate, cfg.Limits.CommandBurst = 2, 2, 2
		cfg.Requests = guard.NewPrefixLimit(guard.Rate{PerSecond: 1, Burst: 1}, w.start)
	})
	s.subscribe(4, "A", "B") // With a bucket that is full again, as it is one of another rate.
	if m := s.next(); m[:3] != "ack" {
		t.Errorf("two topics where there may be two: %s", m)
	}
	for _, want := range []codes.Code{codes.InvalidArgument, codes.ResourceExhausted} {
		if got := code("A", "B", "C"); got != want {
			t.Errorf("a request gets %v, want %v", got, want)
		}
	}
	if w.set.Load().limits.Heartbeat != long {
		t.Error("what can't change has changed")
	}
}

// What is wrong with files is said before anything changes, TLS does not come and go, and neither do tokens.
func TestAdjustIsSafe(t *testing.T) {
	ours := tlstest.NewAuthority(t)
	cert, key := ours.Pair()
	w := start(t, func(cfg *Config, _ *share) { cfg.TLSCert, cfg.TLSKey = cert, key })
	before := w.secure.Load()
	cfg := w.cfg
	cfg.TLSKey = ours.File
	if _, err := w.Prepare(cfg); err == nil {
		t.Error("a key that is none was taken")
	}
	w.adjust(func(cfg *Config) { cfg.TLSCert, cfg.TLSKey = "", "" })
	if w.secure.Load() != before {
		t.Error("TLS was given up")
	}
	verifier, err := auth.NewVerifier(auth.Config{Secret: make([]byte, 64)}, cfg.Log)
	if err != nil {
		t.Fatal(err)
	}
	w.adjust(func(cfg *Config) { cfg.Verifier = verifier })
	if w.set.Load().verifier != nil {
		t.Error("tokens are asked for where none were")
	}
	plain := start(t, nil)
	plain.adjust(func(cfg *Config) { cfg.TLSCert, cfg.TLSKey = cert, key })
	if plain.secure.Load() != nil {
		t.Error("TLS came where there was none")
	}
}
