// SPDX-License-Identifier: Apache-2.0

// Package demo is the program demo: marketdata, an edge and alerts in one process, with a broker in memory between them, behind
// one port, which routes as a proxy in front of them would.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tickedge/internal/alertapi"
	"tickedge/internal/app"
	"tickedge/internal/app/alerts"
	"tickedge/internal/app/edge"
	"tickedge/internal/app/marketdata"
	"tickedge/internal/exchange"
	"tickedge/internal/flags"
	"tickedge/internal/tracing"
	"tickedge/internal/watch"
)

const usageHead = `demo is a whole system in one process: a simulated market, bars, their history, alerts, and an edge with a live board.

  demo                     http://localhost:8080/
  demo -listen :9000 -folder /var/tmp/demo
  demo -check              say what is set, and what is wrong
  demo version             say which version this is

It needs nothing else, and is for looking at: what it has is in memory, or in a folder that is gone with it unless one is given. A system that lasts is made of marketdata, alerts, a broker and edges; see docs/MARKETDATA.md and docs/ALERTS.md. Whoever reaches its port may set and delete everybody's alerts.
`

// config is what the flags, the environment and the file say.
type config struct {
	flags   *flags.Set
	log     app.LogConfig
	listen  string
	folder  string
	symbols string
	rate    float64
	lively  float64
	trace   tracing.Config
	check   bool
}

func newConfig() *config {
	c := &config{flags: flags.New("demo", "DEMO", nil, []string{"completion", "help", "version"})}
	fs := c.flags
	fs.Group("Demo")
	fs.StringVar(&c.listen, "listen", ":8080", "`host:port` of the board, the edge, the history and alerts")
	fs.StringVar(&c.folder, "folder", "", "`folder` for bars and alerts, which a restart goes on with; empty is one that is gone at the end")
	fs.StringVar(&c.symbols, "symbols", "", "`list` of symbols that are traded, by commas; empty is AAPL, BTC-USD, EUR-USD and 21 more")
	fs.Float64Var(&c.rate, "rate", 200, "`trades` per second, all symbols together")
	fs.Float64Var(&c.lively, "volatility", 5, "`factor` on the yearly volatility of every symbol: 1 is realistic, 10 is lively to look at")
	c.trace.Flags(fs, "")
	c.trace.SamplingFlags(fs)
	fs.StringVar(&c.log.Level, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&c.log.Format, "log-format", "text", "text or json")
	fs.Common(&c.check)
	return c
}

// Main is the program.
func Main(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) (code int) {
	switch {
	case len(args) == 2 && args[0] == "completion" && newConfig().flags.WriteCompletion(stdout, args[1]):
		return app.OK
	case len(args) > 0 && args[0] == "completion":
		fmt.Fprintf(stderr, "demo completion: want a shell: demo completion %s\n", flags.Shells)
		return app.Usage
	case len(args) == 1 && (args[0] == "help" || args[0] == "version"):
		args = []string{"-" + args[0]}
	}
	c := newConfig()
	err := c.flags.Parse(args)
	if flags.Asked(err) {
		if errors.Is(err, flags.ErrVersion) {
			fmt.Fprintln(stdout, "demo", app.BuildVersion())
		} else {
			c.flags.WriteHelp(stdout, usageHead)
		}
		return app.OK
	}
	d := &demo{config: c, tried: c.check}
	if err = errors.Join(err, d.parse()); err != nil {
		for line := range strings.SplitSeq(c.flags.Locate(c.flags.Conceal(err, args)).Error(), "\n") {
			fmt.Fprintf(stderr, "demo: %s\n", line)
		}
		fmt.Fprintln(stderr, "demo -h lists all flags")
		return app.Usage
	}
	if c.check {
		c.flags.WriteValues(stdout, func(name, value string) []string {
			if name == "check" || name == "version" || name == "config" {
				return nil
			}
			return []string{flags.HideValue(value)}
		})
		c.flags.WriteOrigins(stdout)
		return app.OK
	}
	d.logger = c.log.Logger(stderr)
	slog.SetDefault(d.logger)
	d.supervisor = app.FindSupervisor(d.logger)
	if err := d.run(ctx); err != nil {
		d.logger.Error("ended", "error", err)
		return app.Failed
	}
	return app.OK
}

// demo is a demo that runs.
type demo struct {
	*config
	logger     *slog.Logger
	supervisor *app.Supervisor
	tried      bool // With -check nothing is made.

	edge   *edge.Config
	market *marketdata.Config
	alerts *alerts.Config

	mu       sync.Mutex
	edgeAddr net.Addr
	history  http.Handler
	api      http.Handler // Of alerts.
	sim      *exchange.Sim
}

// parse makes the configurations of the programs.
func (d *demo) parse() error {
	if !app.IsHostPort(d.listen) {
		return fmt.Errorf("-listen is %s, want host:port such as :8080 or 127.0.0.1:8080", flags.Quote(d.listen))
	}
	if err := errors.Join(d.log.Validate(), d.trace.Validate()); err != nil {
		return err
	}
	var err error
	if d.edge, err = edge.Parse([]string{"-trace-endpoint=" + d.trace.Endpoint, "-trace-headers-file=" + d.trace.HeadersFile,
		"-listen=127.0.0.1:0", "-admin=", "-source=memory", "-page", "-page-history=/history",
		"-page-market=/market", "-page-alerts=/alerts", "-list-topics=held", "-trust-proxy=127.0.0.1", "-max-conns=2000"}); err != nil {
		return err
	}
	at := d.folder
	if at == "" {
		at = filepath.Join(os.TempDir(), "tickedge-demo") // Run takes another.
	}
	return d.stored(at)
}

// stored makes the configurations of what is in a folder.
func (d *demo) stored(folder string) (err error) {
	if d.market, err = d.marketdata(folder); err != nil {
		return err
	}
	d.alerts, err = alerts.Parse([]string{"-source=memory", "-store=" + filepath.Join(folder, "alerts"), "-open", "-listen=", "-admin="})
	return err
}

// marketdata is the configuration of the market and its bars, which are in a folder.
func (d *demo) marketdata(folder string) (*marketdata.Config, error) {
	args := []string{"-in=sim", "-broker=memory", "-admin=", "-listen=", "-history=" + folder, "-symbols=" + d.symbols,
		"-trace-endpoint=" + d.trace.Endpoint, "-trace-headers-file=" + d.trace.HeadersFile, fmt.Sprintf("-trace-one-in=%d", d.trace.OneIn),
		fmt.Sprintf("-sim-rate=%g", d.rate), fmt.Sprintf("-sim-volatility=%g", d.lively)}
	c, err := marketdata.Parse(args)
	if err != nil {
		return c, errors.New(strings.NewReplacer("-sim-rate", "-rate", "-sim-volatility", "-volatility").Replace(err.Error()))
	}
	return c, nil
}

// run runs all of them until ctx ends or one of them does.
func (d *demo) run(ctx context.Context) (err error) {
	if d.folder == "" {
		folder, err := os.MkdirTemp("", "tickedge-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
		if err = d.stored(folder); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp", d.listen)
	if err != nil {
		return app.ListenHint(err, "-listen", d.listen, "perhaps another demo")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.edge.OnListen(func(addr net.Addr) { d.set(func() { d.edgeAddr = addr }) })
	d.market.OnHistory(func(h http.Handler) { d.set(func() { d.history = h }) })
	d.alerts.OnAPI(func(api *alertapi.Server) { d.set(func() { d.api = api }) })
	past, err := watch.NewHTTPHistory(ownURL(ln.Addr()), "")
	if err != nil {
		return err
	}
	d.alerts.SetHistory(past)
	d.market.OnMarket(func(s *exchange.Sim) { d.set(func() { d.sim = s }) })
	var all sync.WaitGroup
	part := func(name string, run func() int) {
		all.Go(func() {
			if code := run(); code != app.OK || ctx.Err() == nil {
				cancel(fmt.Errorf("%s has ended", name))
			}
		})
	}
	part("the market", func() int { return marketdata.Run(ctx, d.market, d.logger.With("part", "marketdata")) })
	part("the edge", func() int { return edge.Run(ctx, d.edge, d.logger.With("part", "edge")) })
	part("the alerts", func() int { return alerts.Run(ctx, d.alerts, d.logger.With("part", "alerts")) })
	server := &http.Server{Handler: d.routes(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(d.logger.Handler(), slog.LevelDebug)}
	all.Go(func() { cancel(server.Serve(ln)) })
	defer d.supervisor.Watch(ctx, d.ready, nil)()
	d.logger.Info("open the live board in a browser", "url", boardURL(ln.Addr()))
	<-ctx.Done()
	server.Close()
	all.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, http.ErrServerClosed) {
		return cause
	}
	return nil
}

// ready returns an error until all parts are there.
func (d *demo) ready() (warning string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.edgeAddr == nil || d.history == nil || d.api == nil {
		return "", errors.New("the demo is starting")
	}
	return "", nil
}

func (d *demo) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// bodyTime is for the body of a request, which is small.
const bodyTime = 10 * time.Second

// routes are those of a proxy: /history/ to marketdata, /market to the market, what alerts has to it, and the rest to the edge.
func (d *demo) routes() http.Handler {
	mux := http.NewServeMux()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			d.mu.Lock()
			defer d.mu.Unlock()
			host := r.In.Host
			r.SetURL(&url.URL{Scheme: "http", Host: d.edgeAddr.String()})
			r.Out.Host = host // The edge compares it with Origin.
			r.SetXForwarded()
		},
		FlushInterval: -1, // Events are sent as they come.
		ErrorLog:      slog.NewLogLogger(d.logger.Handler(), slog.LevelDebug),
	}
	ready := func(has func() http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			d.mu.Lock()
			h := has()
			d.mu.Unlock()
			if h == nil {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "the demo is starting", http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		}
	}
	mux.HandleFunc("/history/", ready(func() http.Handler { return d.history }))
	mux.HandleFunc("/market", ready(func() http.Handler {
		if d.sim == nil {
			return nil
		}
		return marketPort{d.sim}
	}))
	for _, path := range []string{"/alerts", "/alerts/", "/price/", "/health"} {
		answer := ready(func() http.Handler { return d.api })
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
			answer(w, r)
		})
	}
	mux.HandleFunc("/", ready(func() http.Handler {
		if d.edgeAddr == nil {
			return nil
		}
		return proxy
	}))
	return mux
}

// ownURL is where this process asks for its history. What listens on all addresses is asked by loopback.
func ownURL(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("http://127.0.0.1:%d", tcp.Port)
	}
	return "http://" + addr.String()
}

func boardURL(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && (tcp.IP.IsUnspecified() || tcp.IP.Equal(net.IPv4(127, 0, 0, 1)) || tcp.IP.Equal(net.IPv6loopback)) {
		return fmt.Sprintf("http://localhost:%d/", tcp.Port)
	}
	return "http://" + addr.String() + "/"
}
