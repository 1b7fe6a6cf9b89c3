// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
)

// screened is a stream's message of a screen, as text.
func screened(m *pricesv1.Screened) string {
	s := "screen " + m.GetName()
	if m.GetFull() {
		s += " full"
	}
	names := []string{}
	for _, row := range m.GetRows() {
		names = append(names, row.GetTopic()+"="+string(row.GetValue()))
	}
	slices.Sort(names)
	s += fmt.Sprint(" ", names)
	if len(m.GetOut()) > 0 {
		s += fmt.Sprint(" out ", m.GetOut())
	}
	if m.GetOrdered() {
		s += fmt.Sprint(" order ", m.GetOrder())
	}
	return s
}

func (c *client) screen(id uint64, name, where string, top uint32, by string, patterns ...string) {
	c.t.Helper()
	c.command(&pricesv1.StreamRequest{Id: id, Command: &pricesv1.StreamRequest_Screen{Screen: &pricesv1.Screen{
		Name: name, Topics: patterns, Where: where, Top: top, By: by,
	}}})
}

// A stream has screens as a connection has, and gives them up when it ends.
func TestScreens(t *testing.T) {
	var registry *screen.Registry
	w := start(t, func(cfg *Config, _ *share) {
		registry = screen.New(screen.Config{
			Table: cfg.Table, Private: cfg.Private, Clock: func() time.Duration { return 1 }, Log: slog.New(slog.DiscardHandler),
			MaxScreens: 10, MaxPerUser: 10, MaxTopics: 10, Share: 1,
		})
		cfg.Limits.Screens, cfg.Limits.MaxScreens = registry, 2
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { registry.Run(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended })

	c := w.stream(w.dial())
	c.want("hello 10 ms, 256 topics")
	c.screen(1, "s", "p >", 0, "", "*")
	m, err := c.Recv()
	if e := m.GetError(); err != nil || e.GetCode() != 400 || e.GetAt() != 4 {
		t.Fatalf("got %v, %v", m, err)
	}
	c.screen(2, "bad name", "", 0, "", "*")
	c.screen(3, "s", "", 0, "", "alerts:*")
	c.screen(4, "s", "p > 1", 2, "-p", "a:*")
	c.want("error 2: 422", "error 3: 403", "ack 4: 0 topics, 10 ms screens 1")
	w.until(func() bool { return registry.Offer("a:1") }, "the cover")
	c.want("screen s full []")
	tick := func(name, value string) {
		registry.Offer(name)
		w.publish(name, value)
	}
	tick("a:1", `{"p":5}`)
	c.want(`screen s [a:1={"p":5}] order [a:1]`)
	tick("a:2", `{"p":7}`)
	c.want(`screen s [a:2={"p":7}] order [a:2 a:1]`)
	tick("a:2", `{"p":0}`)
	c.want(`screen s [] out [a:2] order [a:1]`)
	c.command(&pricesv1.StreamRequest{Id: 5, Command: &pricesv1.StreamRequest_Unscreen{Unscreen: &pricesv1.Unscreen{Name: "s"}}})
	c.want("ack 5: 0 topics, 10 ms")
	c.screen(6, "t", "", 0, "", "a:*")
	c.want("ack 6: 0 topics, 10 ms screens 1", `screen t full [a:1={"p":5} a:2={"p":0}]`)
	if s := registry.Stats(); s.Holders != 1 {
		t.Errorf("%d hold screens, want 1", s.Holders)
	}
	w.table.Publish("a:2", topics.Delisted, topics.Meta{})
	c.want("screen t [] out [a:2]")
	c.cancel()
	w.until(func() bool { return registry.Stats().Holders == 0 }, "the end of the screens")
}
