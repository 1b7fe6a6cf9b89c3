// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/alertapi"
	"tickedge/internal/app"
	"tickedge/internal/app/options"
	"tickedge/internal/auth"
	"tickedge/internal/backoffice"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/guard"
	"tickedge/internal/watch"
)

const envPrefix = "ALERTS"

// secretEnv has no flag: everybody on a host can read the flags of its processes.
const secretEnv = envPrefix + "_JWT_SECRET"

const usageHead = `alerts watches prices for users, and tells each once when a price is reached.

  alerts -source redis://127.0.0.1:6379 -store alerts -history http://127.0.0.1:8090 -key-file keys
  alerts -source nats://127.0.0.1:4222 -store postgres://a@db/alerts -history http://md:8090 -jwt-key-file issuer.pem
  alerts -check                  say what is set, and what is wrong
  alerts healthcheck             say whether the alerts of this host or container are ready
  alerts version                 say which version this is
  alerts completion bash         make a shell complete flags (zsh, fish)

Every flag is also an environment variable, and a line of a file: -key-file is ALERTS_KEY_FILE, and key-file in the file of -config. A flag goes before the environment, and that before the file. Put URLs with passwords there, because the flags of a process can be seen by others.
`

// Config is everything that can be set from outside.
type Config struct {
	flags *flags.Set
	log   app.LogConfig
	check bool

	sources   options.Brokers
	store     string
	past      string
	pastToken string
	price     string
	owner     string
	term      time.Duration

	listen    string
	grpc      string
	grpcTLS   tlsFiles
	quota     int
	open      bool
	keyFile   string
	origin    string
	trust     string
	private   string
	tokens    auth.Config
	admin     string
	adminHost string
	topicsMax int
	rate      guard.Rate

	// What follows from these.
	feed       feed.Config
	secure     *tls.Config // Of gRPC; nil without TLS.
	keys       backoffice.Keys
	origins    *auth.Origins
	trusted    guard.Trusted
	adminNames admin.Names
	history    watch.History
	onAPI      func(*alertapi.Server)
	supervisor *app.Supervisor // Nil if nobody started this process who wants to know.
}

// OnAPI has f called with what answers requests, for a program that has a port of its own for it.
func (c *Config) OnAPI(f func(*alertapi.Server)) { c.onAPI = f }

// SetHistory has the past asked of another part of the same process, in place of -history.
func (c *Config) SetHistory(h watch.History) { c.history = h }

func newConfig(commands ...string) *Config {
	c := &Config{flags: flags.New("alerts", envPrefix, []string{secretEnv}, commands)}
	c.tokens.Secret = []byte(os.Getenv(secretEnv))
	fs := c.flags
	fs.Group("Prices")
	c.sources.Flag = "source"
	fs.Var(&c.sources, c.sources.Flag, "`[patterns=]URL` of a broker that has prices and bars, and that edges read, as often as there are several: redis://user:password@host:port/db, nats://user:password@host:port, as with edge's -source")
	fs.StringVar(&c.past, "history", "", "`URL` of the history of marketdata, http://host:8090: what was missed is made up for from its bars; none if it is empty")
	fs.StringVar(&c.pastToken, "history-token-file", "", "`file` with a token for -history, which allows kline:*")
	fs.StringVar(&c.price, "price-member", "p", "`name` of the member of a value that is the price")
	fs.IntVar(&c.topicsMax, "max-topics", 100_000, "how many topics are watched at most: a price and bars of a second for each symbol that has alerts")

	fs.Group("Alerts")
	fs.StringVar(&c.store, "store", "", "`folder` for alerts (one of these programs), or postgres://user:password@host/database (several share the work)")
	fs.StringVar(&c.owner, "name", "", "`name` of this program among those that share a database; empty is its host and process")
	fs.DurationVar(&c.term, "lease", 6*time.Second, "after how long what one that died has watched is watched by the others")
	fs.IntVar(&c.quota, "quota", alertapi.DefaultQuota, "how many alerts a user may have that can fire")
	fs.StringVar(&c.private, "private", auth.DefaultPrivate, "`prefix` of the topics of users, as with edge")

	fs.Group("Requests")
	fs.StringVar(&c.listen, "listen", ":8100", "`host:port` of REST: /alerts; empty for none")
	fs.StringVar(&c.grpc, "grpc", "", "`host:port` of gRPC; empty for none, the usual one is :8102")
	fs.StringVar(&c.grpcTLS.cert, "grpc-tls-cert", "", "`file` with the certificate of -grpc, in PEM; without it there is no TLS")
	fs.StringVar(&c.grpcTLS.key, "grpc-tls-key", "", "`file` with the key of -grpc-tls-cert")
	fs.StringVar(&c.grpcTLS.clients, "grpc-client-ca", "", "`file` with the authorities, in PEM, of whose certificates a client of -grpc has to show one, beside its token or key")
	fs.BoolVar(&c.open, "open", false, "ask for neither tokens nor keys: whoever reaches the port may do everything. For demos")
	fs.StringVar(&c.keyFile, "key-file", "", "`file` with a line name:key for each program that may ask for any user_id")
	fs.IntVar(&c.rate.PerSecond, "request-rate-per-ip", alertapi.DefaultRate.PerSecond, "`requests` per second of an address; more are refused with 429")
	fs.IntVar(&c.rate.Burst, "request-burst-per-ip", alertapi.DefaultRate.Burst, "`requests` of an address at once")
	fs.StringVar(&c.origin, "origin", "", "`list` of web origins that may ask, by commas, as with edge")
	fs.StringVar(&c.trust, "trust-proxy", "", "`networks` of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8,::1")
	options.Tokens(fs, &c.tokens, secretEnv, "claim that limits topics: who may not have a price can't have it watched")

	fs.Group("Operation")
	fs.StringVar(&c.admin, "admin", defaultAdmin, "`host:port` for /metrics, /healthz, /readyz and /debug/pprof; empty for none. Not for the public")
	fs.StringVar(&c.adminHost, "admin-host", "", "`names` by which monitoring calls the admin port, by commas")
	fs.StringVar(&c.log.Level, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&c.log.Format, "log-format", "text", "text or json")
	fs.Common(&c.check)
	return c
}

// Parse reads flags, environment and file, and the files that they name. The error is flag.ErrHelp or flags.ErrVersion, or
// says all that is wrong, a line each.
func Parse(args []string) (*Config, error) {
	c := newConfig("completion", "healthcheck", "help", "version")
	err := c.flags.Parse(args)
	if flags.Asked(err) {
		return c, err
	}
	return c, c.flags.Locate(c.flags.Conceal(errors.Join(err, c.validate()), args))
}

// termMax bounds -lease.
const termMax = time.Minute

func (c *Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	var err error
	if c.feed, err = c.sources.Feed(); err != nil {
		errs = append(errs, err)
	}
	if len(c.sources.List) == 0 {
		bad("-source is missing: want the broker that has prices, such as -source redis://127.0.0.1:6379")
	}
	if c.store == "" {
		bad("-store is missing: want a folder, or the URL of a database in PostgreSQL")
	}
	if c.term < 2*time.Second || c.term > termMax {
		bad("-lease is %v, want 2s to %v", c.term, termMax)
	}
	if c.quota < 1 || c.quota > 1_000_000 {
		bad("-quota is %d, want 1 to 1000000", c.quota)
	}
	if !c.rate.Valid() || c.rate == (guard.Rate{}) {
		bad("-request-rate-per-ip is %d and -request-burst-per-ip %d, want two numbers from 1 to %d", c.rate.PerSecond, c.rate.Burst, guard.RateMax)
	}
	if c.topicsMax < 2 || c.topicsMax > 1_000_000 {
		bad("-max-topics is %d, want 2 to 1000000", c.topicsMax)
	}
	if c.price == "" || len(c.price) > 100 {
		bad("-price-member is %s, want the name of a member, such as p", flags.Quote(c.price))
	}
	for name, value := range map[string]string{"-listen": c.listen, "-grpc": c.grpc, "-admin": c.admin} {
		if value != "" && !app.IsHostPort(value) {
			bad("%s is %s, want host:port such as :8100, or nothing", name, flags.Quote(value))
		}
	}
	if c.secure, err = c.grpcTLS.load(); err != nil {
		errs = append(errs, err)
	} else if c.secure != nil && c.grpc == "" {
		bad("-grpc-tls-cert has no effect: -grpc is not set")
	}
	errs = append(errs, c.validatePast(), c.validateAccess(), c.log.Validate())
	return errors.Join(errs...)
}

func (c *Config) validatePast() error {
	if c.past == "" {
		if c.pastToken != "" {
			return errors.New("-history-token-file is for -history: want both, or neither")
		}
		return nil
	}
	token := ""
	if c.pastToken != "" {
		text, err := os.ReadFile(c.pastToken)
		if err != nil {
			return fmt.Errorf("-history-token-file: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	h, err := watch.NewHTTPHistory(c.past, token)
	if err != nil {
		return fmt.Errorf("-history: %w", err)
	}
	c.history = h
	return nil
}

func (c *Config) validateAccess() error {
	var errs []error
	var err error
	if c.adminNames, err = admin.ParseNames(c.adminHost); err != nil {
		errs = append(errs, fmt.Errorf("-admin-host: %w", err))
	}
	if c.trusted, err = guard.ParseTrusted(c.trust); err != nil {
		errs = append(errs, fmt.Errorf("-trust-proxy: %w", err))
	}
	if c.origins, err = auth.ParseOrigins(c.origin); err != nil {
		errs = append(errs, fmt.Errorf("-origin: %w", err))
	}
	if c.tokens.Private, err = auth.ParsePrivate(c.private); err != nil {
		errs = append(errs, fmt.Errorf("-private: %w", err))
	} else if c.private == "" || strings.Contains(c.private, ",") {
		errs = append(errs, fmt.Errorf("-private is %s, want one prefix, such as %s", flags.Quote(c.private), auth.DefaultPrivate))
	}
	errs = append(errs, options.CheckTokens(&c.tokens, secretEnv))
	if c.keyFile != "" {
		if c.keys, err = backoffice.ReadKeys(c.keyFile); err != nil {
			errs = append(errs, fmt.Errorf("-key-file: %w", err))
		}
	}
	switch asked := options.HasTokens(&c.tokens) || c.keyFile != ""; {
	case c.open && asked:
		errs = append(errs, errors.New("-open asks for neither tokens nor keys: want it alone, or -key-file and -jwt-… without it"))
	case !c.open && !asked:
		errs = append(errs, errors.New("nobody could ask: want -key-file with keys of programs, tokens of users (-jwt-key-file and others), or -open for everybody"))
	case c.open && !(loopback(c.listen) && loopback(c.grpc)):
		errs = append(errs, errors.New("-open lets everybody do everything, and -listen or -grpc is not loopback: want for example -listen 127.0.0.1:8100, or keys or tokens"))
	}
	return errors.Join(errs...)
}

// loopback reports whether only this host reaches an address. An empty one is no port.
func loopback(addr string) bool { return addr == "" || backoffice.Loopback(addr) }

// print writes the effective configuration as flags, without passwords.
func (c *Config) print(w io.Writer) {
	c.flags.WriteValues(w, func(name, value string) []string {
		switch name {
		case "check", "version", "config":
			return nil
		case "source":
			return strings.Fields(c.sources.String())
		}
		return []string{flags.HideValue(value)}
	})
	c.flags.WriteOrigins(w)
}
