package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tickedge/internal/loop"
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

// admin is the port for operators and their monitoring.
type admin struct {
	server   *http.Server
	listener *adminListener
	names    hostNames // By which it may be called, beside addresses.
	log      *slog.Logger
	refused  [refusals]atomic.Uint64
}

// Why a request was refused.
const (
	refusedHost   = iota // By the name it was called, see admin.why.
	refusedOrigin        // A web page asked.
	refusedBusy          // There are as many of its kind as there may be.
	refusals
)

var refusedLabels = [refusals]string{"host", "origin", "busy"}

// listenAdmin binds the port, so that a port in use is found before clients are. 0.0.0.0 is
// all addresses of IPv4, an empty host and [::] those of IPv6 too.
func listenAdmin(addr string, names hostNames, log *slog.Logger) (*admin, error) {
	network, host := "tcp", ""
	if h, _, err := net.SplitHostPort(addr); err == nil {
		host = h
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		network = "tcp4" // Package net would take 0.0.0.0 for all of IPv6 too.
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("admin port: %w (choose another with -admin)", err)
	}
	return &admin{listener: newAdminListener(ln), names: names.and(host).and("localhost").andOwn(), log: log}, nil
}

// serve answers requests from now on. ready returns why no client should be sent here, or
// else what an operator should know all the same, if anything.
func (a *admin) serve(server *loop.Server, registry *prometheus.Registry, ready func() (warning string, err error)) {
	a.server = &http.Server{
		Handler:           survive(a.guard(a.pages(server, registry, ready)), a.log),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnState:         a.listener.note,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := a.server.Serve(a.listener); err != http.ErrServerClosed {
			a.log.Error("admin port ended", "error", err)
		}
	}()
}

func (a *admin) pages(server *loop.Server, registry *prometheus.Registry, ready func() (warning string, err error)) http.Handler {
	mux := http.NewServeMux()
	// No scrape is refused because there are others: those at a time share what is gathered,
	// and adminConns bounds them.
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
		mux.HandleFunc("GET "+path, a.bounded(slots, h))
	}
	looks, dumps, profiles := make(chan struct{}, pagesMost), make(chan struct{}, pagesMost), make(chan struct{}, profilesMost)
	bounded("/debug/conns", looks, func(w http.ResponseWriter, r *http.Request) { serveConns(w, r, server) })
	bounded("/debug/evictions", looks, func(w http.ResponseWriter, r *http.Request) { serveEvictions(w, r, server) })
	bounded("/debug/pprof/", dumps, pprof.Index)
	bounded("/debug/pprof/cmdline", dumps, pprof.Cmdline)
	bounded("/debug/pprof/symbol", dumps, pprof.Symbol)
	bounded("/debug/pprof/profile", profiles, pprof.Profile)
	bounded("/debug/pprof/trace", profiles, pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "/metrics\n/healthz\n/readyz\n/debug/conns\n/debug/evictions\n/debug/pprof/\n")
	})
	return mux
}

// guard lets requests through that an operator or a program of his has sent, and bounds
// their time.
func (a *admin) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allow(w, answerTime)
		why, text := a.why(r)
		if text == "" {
			next.ServeHTTP(w, r)
			return
		}
		a.refused[why].Add(1)
		a.log.Warn("a request to the admin port was refused", "from", r.RemoteAddr, "host", clip(r.Host), "path", clip(r.URL.Path), "reason", text)
		http.Error(w, text, http.StatusForbidden)
	})
}

// why returns what speaks against a request. A web page that an operator has open must not
// reach this port by way of the browser: neither with a name of its own that it has made
// stand for this address (DNS rebinding), nor by just asking, as that costs the edge time.
func (a *admin) why(r *http.Request) (refusal int, text string) {
	site := r.Header.Get("Sec-Fetch-Site")
	switch {
	case !a.names.allow(r.Host):
		return refusedHost, fmt.Sprintf("the admin port is not known as %q: use its address, or name it with -admin-host", clip(r.Host))
	case r.Header["Origin"] != nil, site != "" && site != "none" && site != "same-origin":
		return refusedOrigin, "web pages may not ask the admin port (Origin, Sec-Fetch-Site): open its address itself"
	}
	return 0, ""
}

// bounded serves only as many requests at a time as there are slots.
func (a *admin) bounded(slots chan struct{}, h http.HandlerFunc) http.HandlerFunc {
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
			a.refused[refusedBusy].Add(1)
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
