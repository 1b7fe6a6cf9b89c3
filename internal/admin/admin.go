// SPDX-License-Identifier: Apache-2.0

// Package admin is the port for operators and their monitoring, which every program has:
// metrics, health, profiles, and pages of the program's own.
//
//	admin.go     Port: which requests are let through, and the pages
//	listener.go  how many connections it has, and which is closed for another
//	names.go     by which names it may be called
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tickedge/internal/panics"
)

const (
	// answerTime bounds the time from the head of a request to the last byte of its answer.
	// What takes longer has stopped reading: /debug/conns with 10,000 connections is 3 MB.
	answerTime = 15 * time.Second
	// profileMax bounds ?seconds= of a profile or a trace, which slow the edge down.
	profileMax = time.Minute
	// Beyond these numbers at a time the answer is 503. Of profiles of the CPU and traces
	// the runtime takes one; the other pages are large, or have the loops do something.
	profilesMost = 1
	pagesMost    = 4
)

// Port is an admin port.
type Port struct {
	server   *http.Server
	listener *Listener
	names    Names // By which it may be called, beside addresses.
	log      *slog.Logger
	refused  [refusals]atomic.Uint64
}

// Why a request was refused.
const (
	refusedHost   = iota // By the name it was called, see Port.why.
	refusedOrigin        // A web page asked.
	refusedBusy          // There are as many of its kind as there may be.
	refusals
)

var refusedLabels = [refusals]string{"host", "origin", "busy"}

// Listen binds the port, so that a port in use is found before clients are. 0.0.0.0 is
// all addresses of IPv4, an empty host and [::] those of IPv6 too.
func Listen(addr string, names Names, log *slog.Logger) (*Port, error) {
	ln, host, err := Bind(addr)
	if err != nil {
		return nil, fmt.Errorf("admin port: %w", err)
	}
	return &Port{listener: ln, names: names.Called(host), log: log}, nil
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Refused is how many requests were refused, by reason.
func (p *Port) Refused() map[string]uint64 {
	all := make(map[string]uint64)
	for i, label := range refusedLabels {
		all[label] = p.refused[i].Load()
	}
	return all
}

// Serve answers requests from now on. metrics and pages are those of the program. ready returns why no
// client should be sent here, or else what an operator should know all the same, if anything.
func (p *Port) Serve(metrics prometheus.Collector, ready func() (warning string, err error), pages map[string]http.HandlerFunc) {
	p.server = &http.Server{
		Handler:           survive(p.guard(p.pages(metrics, ready, pages)), p.log),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnState:         p.listener.Note,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := p.server.Serve(p.listener); err != http.ErrServerClosed {
			p.log.Error("admin port ended", "error", err)
		}
	}()
}

func (p *Port) pages(metrics prometheus.Collector, ready func() (warning string, err error), own map[string]http.HandlerFunc) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), metrics)
	mux := http.NewServeMux()
	// No scrape is refused because there are others: those at a time share what is gathered,
	// and maxConns bounds them.
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry: registry, CoalesceGather: true, Timeout: answerTime / 2,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch warning, err := ready(); {
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case warning != "":
			fmt.Fprintln(w, "ready, but", warning)
		default:
			fmt.Fprintln(w, "ready")
		}
	})
	bounded := func(path string, slots chan struct{}, h http.HandlerFunc) {
		mux.HandleFunc("GET "+path, p.bounded(slots, h))
	}
	looks, dumps, profiles := make(chan struct{}, pagesMost), make(chan struct{}, pagesMost), make(chan struct{}, profilesMost)
	index := "/metrics\n/healthz\n/readyz\n"
	for _, path := range slices.Sorted(maps.Keys(own)) {
		bounded(path, looks, own[path])
		index += path + "\n"
	}
	bounded("/debug/pprof/", dumps, pprof.Index)
	bounded("/debug/pprof/cmdline", dumps, commandLine)
	bounded("/debug/pprof/symbol", dumps, pprof.Symbol)
	bounded("/debug/pprof/profile", profiles, pprof.Profile)
	bounded("/debug/pprof/trace", profiles, pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, index, "/debug/pprof/\n")
	})
	return mux
}

// commandLine is [pprof.Cmdline] without what stands in URLs, which have passwords in them.
func commandLine(w http.ResponseWriter, _ *http.Request) {
	args := slices.Clone(os.Args)
	for i, arg := range args {
		if scheme, _, is := strings.Cut(arg, "://"); is {
			args[i] = scheme + "://xxxxx"
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, strings.Join(args, "\x00"))
}

// guard lets requests through that an operator or a program of his has sent, and bounds
// their time.
func (p *Port) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allow(w, answerTime)
		why, text := p.why(r)
		if text == "" {
			next.ServeHTTP(w, r)
			return
		}
		p.refused[why].Add(1)
		p.log.Warn("a request to the admin port was refused", "from", r.RemoteAddr, "host", clip(r.Host), "path", clip(r.URL.Path), "reason", text)
		http.Error(w, text, http.StatusForbidden)
	})
}

// why returns what speaks against a request. A web page that an operator has open must not
// reach this port by way of the browser: neither with a name of its own that it has made
// stand for this address (DNS rebinding), nor by just asking, as that costs the edge time.
func (p *Port) why(r *http.Request) (refusal int, text string) {
	site := r.Header.Get("Sec-Fetch-Site")
	switch {
	case !p.names.Allow(r.Host):
		return refusedHost, fmt.Sprintf("the admin port is not known as %q: use its address, or name it with -admin-host", clip(r.Host))
	case r.Header["Origin"] != nil, site != "" && site != "none" && site != "same-origin":
		return refusedOrigin, "web pages may not ask the admin port (Origin, Sec-Fetch-Site): open its address itself"
	}
	return 0, ""
}

// bounded serves only as many requests at a time as there are slots.
func (p *Port) bounded(slots chan struct{}, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			s, err := strconv.ParseFloat(text, 64)
			if err != nil || !(s > 0 && s <= profileMax.Seconds()) {
				http.Error(w, fmt.Sprintf("want seconds above 0, up to %.0f", profileMax.Seconds()), http.StatusBadRequest)
				return
			}
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			p.refused[refusedBusy].Add(1)
			w.Header().Set("Retry-After", "5")
			http.Error(w, fmt.Sprintf("at most %d at a time, try again later", cap(slots)), http.StatusServiceUnavailable)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			allow(w, profileMax+answerTime)
		}
		h(w, r)
	}
}

// allow bounds the time that a request may still take: to read what it has not sent yet,
// and to write the answer.
func allow(w http.ResponseWriter, d time.Duration) {
	until, rc := time.Now().Add(d), http.NewResponseController(w)
	// The errors say that the connection is gone, which shows by itself.
	_ = rc.SetReadDeadline(until)
	_ = rc.SetWriteDeadline(until)
}

// clip shortens what a peer has sent for the log.
func clip(s string) string { return s[:min(len(s), 100)] }

// survive answers with 500 where a handler panics, and logs it. Package http would do so
// too, but only for the log's lines at debug.
func survive(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p) // It is not meant as a fault.
			}
			f := panics.Caught(panics.Admin, p)
			log.Error("panic while answering a request to the admin port", "path", r.URL.Path, "error", f, "hint", panics.Hint, "stack", f.Stack)
			http.Error(w, f.Error(), http.StatusInternalServerError)
		}()
		h.ServeHTTP(w, r)
	})
}

// Close ends the port and the requests under way.
func (p *Port) Close() {
	if p.server == nil {
		p.listener.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if p.server.Shutdown(ctx) != nil {
		p.server.Close()
	}
}
