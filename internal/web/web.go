// SPDX-License-Identifier: Apache-2.0

// Package web is what the ports have alike that answer with net/http whoever asks: who that is, which pages may, how an error is
// said, and a listener with limits. The client port of the edge is not among them: package loop answers there.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"tickedge/internal/auth"
	"tickedge/internal/guard"
	"tickedge/internal/protocol"
)

// Client is who is counted as one client of a port, behind proxies that are trusted. It is 0 for an address that can't be read.
func Client(r *http.Request, trusted guard.Trusted) guard.Prefix {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return 0
	}
	return guard.PrefixOf(trusted.ClientAddr(peer.Addr(), r.Header["X-Forwarded-For"]))
}

// Admit reports whether the page that asks, if one does, may; and lets its scripts read the answer, with the header fields exposed.
func Admit(w http.ResponseWriter, r *http.Request, origins *auth.Origins, exposed string) bool {
	h := w.Header()
	if !origins.Any() {
		h.Add("Vary", "Origin")
	}
	all := r.Header["Origin"]
	if len(all) == 0 {
		return true
	}
	if len(all) > 1 || !origins.Allow([]byte(all[0]), []byte(r.Host)) {
		return false
	}
	if origins.Any() {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Set("Access-Control-Allow-Origin", all[0])
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	h.Set("Access-Control-Expose-Headers", exposed)
	return true
}

// Problem answers with an error (RFC 9457), as those of the edge are. lines are header lines, each with its CRLF. final ends the
// connection.
func Problem(w http.ResponseWriter, status int, detail, lines string, final bool) {
	h := w.Header()
	for line := range strings.SplitSeq(lines, "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			h.Set(name, value)
		}
	}
	if final {
		h.Set("Connection", "close")
	}
	h.Del("ETag")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/problem+json")
	body := protocol.AppendProblem(nil, status, http.StatusText(status), status, detail)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // Who has gone needs no answer.
}

// Times and sizes of a connection.
const (
	ReadTime   = 5 * time.Second // For a head, or a whole request.
	answerTime = 30 * time.Second
	idleTime   = time.Minute
	headMax    = 16 << 10
	endTime    = 5 * time.Second
)

// Port says what a listener is to hold.
type Port struct {
	Handler  http.Handler
	Conns    int // At a time. An address has a quarter, but for proxies that are trusted.
	Trusted  guard.Trusted
	ReadTime time.Duration // [ReadTime], unless something else is set.
	Log      *slog.Logger
}

// Serve answers at a listener until ctx ends, and then finishes what was asked. The error is nil at the end of ctx.
func (p Port) Serve(ctx context.Context, ln net.Listener) error {
	if p.ReadTime == 0 {
		p.ReadTime = ReadTime
	}
	h := &http.Server{
		Handler:           p.Handler,
		ReadHeaderTimeout: p.ReadTime,
		ReadTimeout:       p.ReadTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headMax,
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		if h.Shutdown(last) != nil {
			_ = h.Close()
		}
	})
	counted := &shares{Listener: ln, most: max(p.Conns/4, 1), trusted: p.Trusted, have: make(map[guard.Prefix]int)}
	err := h.Serve(netutil.LimitListener(counted, p.Conns))
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return err
}
