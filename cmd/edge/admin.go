package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"tickedge/internal/loop"
	"tickedge/internal/panics"
)

// adminConns bounds the connections of the admin port. They come out of
// loop.FileReserve.
const adminConns = 32

// admin is the port for operators and their monitoring.
type admin struct {
	server   *http.Server
	listener net.Listener
}

// listenAdmin binds the port, so that a port in use is found before clients are.
func listenAdmin(addr string) (*admin, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("admin port: %w (choose another with -admin)", err)
	}
	return &admin{listener: netutil.LimitListener(ln, adminConns)}, nil
}

// serve answers requests from now on. ready returns why no client should be sent here, or
// else what an operator should know all the same, if anything.
func (a *admin) serve(server *loop.Server, registry *prometheus.Registry, ready func() (warning string, err error), log *slog.Logger) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
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
	mux.HandleFunc("GET /debug/conns", func(w http.ResponseWriter, r *http.Request) { serveConns(w, r, server) })
	mux.HandleFunc("GET /debug/evictions", func(w http.ResponseWriter, r *http.Request) { serveEvictions(w, r, server) })
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "/metrics\n/healthz\n/readyz\n/debug/conns\n/debug/evictions\n/debug/pprof/\n")
	})
	a.server = &http.Server{
		Handler:           survive(mux, log),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := a.server.Serve(a.listener); err != http.ErrServerClosed {
			log.Error("admin port ended", "error", err)
		}
	}()
}

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

// close ends the port and the requests under way.
func (a *admin) close() {
	if a.server == nil {
		a.listener.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.server.Shutdown(ctx) != nil {
		a.server.Close()
	}
}
