// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"net"
	"sync"

	"tickedge/internal/app"
	"tickedge/internal/bars"
	"tickedge/internal/history"
)

// historyPort answers GET /history/{symbol}.
type historyPort struct {
	server *history.Server
	end    context.CancelFunc
	ended  sync.WaitGroup
}

func (h *historyPort) close() {
	if h.end != nil {
		h.end()
	}
	h.ended.Wait()
}

// startHistory answers requests from now on.
func (p *program) startHistory(ctx context.Context) error {
	if p.stores.history == nil {
		return nil
	}
	verifier, err := p.startTokens()
	if err != nil {
		return err
	}
	server, err := history.NewServer(history.ServerConfig{
		Store: p.stores.history, Live: live{p}, Waiting: p.stores.writer.Waiting, Symbol: p.cfg.table.Named, Intervals: p.cfg.bars.Intervals,
		Verifier: verifier, Private: p.cfg.tokens.Private, Origins: p.cfg.origins, Trusted: p.cfg.trusted, Log: p.log,
	})
	if err != nil {
		return err
	}
	h := &historyPort{server: server}
	if p.cfg.onHistory != nil {
		p.cfg.onHistory(server)
	}
	if p.cfg.listen == "" {
		p.history = h
		return nil
	}
	ln, err := net.Listen("tcp", p.cfg.listen)
	if err != nil {
		return app.ListenHint(err, "-listen", p.cfg.listen, "perhaps another marketdata: each needs a port of its own")
	}
	work, end := context.WithCancel(ctx)
	h.end, p.history = end, h
	h.ended.Go(func() {
		if err := server.Serve(work, ln); err != nil {
			p.log.Error("the port of the history has ended", "error", err)
		}
	})
	p.log.Info("history", "addr", ln.Addr().String())
	return nil
}

// live tells the history what shards have.
type live struct{ p *program }

// Open implements [history.Live].
func (l live) Open(ctx context.Context, symbol, interval string) (out history.LiveSeries, ok bool) {
	of := l.p.cfg.table.Named(symbol)
	if of == nil {
		return out, false
	}
	if !l.p.running.Load() {
		return out, false
	}
	var list []bars.Bar
	for _, s := range l.p.owned() {
		if !s.owns(of) {
			continue
		}
		var has series // A shard that comes to it too late writes into its own.
		if s.call(ctx, func() { has = s.recent(of, interval) }) && has.ok {
			list, out.Revs, out.Ver, ok = has.bars, has.revs, has.ver, true
			break // Of partitions, one alone has it.
		}
	}
	if !ok {
		return out, false
	}
	if n := len(list); n > 0 && !list[n-1].Closed {
		open := list[n-1]
		out.Open, list = &open, list[:n-1]
	}
	out.Closed = list
	return out, true
}
