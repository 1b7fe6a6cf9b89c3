// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Config says whether and where spans go. Its flags are [Config.Flags].
type Config struct {
	Endpoint    string // URL of a collector that takes OTLP over HTTP; empty is off.
	OneIn       int    // Of so many trades that come without a parent one is followed.
	HeadersFile string // A file with headers of requests, a line each: Name: value.
	Headers     string // The same, from the environment.

	headers http.Header
	url     string
}

// Defaults and bounds.
const (
	DefaultOneIn = 10_000
	oneInMax     = 1_000_000_000
	headersMax   = 64 << 10 // Bytes of a file of headers.
)

// FlagSet is what adds flags.
type FlagSet interface {
	StringVar(p *string, name, value, usage string)
	IntVar(p *int, name string, value int, usage string)
}

// Flags adds the flags of who has spans. env is the variable that may have the headers, which have no flag: everybody on a host
// can read the flags of its processes; empty is none.
func (c *Config) Flags(fs FlagSet, env string) {
	more := ""
	if env != "" {
		more = "; or they are in the environment, by line breaks or semicolons: " + env
	}
	fs.StringVar(&c.Endpoint, "trace-endpoint", "", "`URL` of a collector of OpenTelemetry that takes OTLP over HTTP, such as http://127.0.0.1:4318: a few trades are followed there to the first client, see docs/TRACING.md; empty for none")
	fs.StringVar(&c.HeadersFile, "trace-headers-file", "", "`file` with headers for -trace-endpoint, such as keys, a line Name: value each"+more)
}

// SamplingFlags adds the flags of who decides what is followed.
func (c *Config) SamplingFlags(fs FlagSet) {
	fs.IntVar(&c.OneIn, "trace-one-in", DefaultOneIn, "of so many trades one is followed to -trace-endpoint, the first one to begin with; those that come with a parent have it decided")
}

// On reports whether there are spans at all.
func (c *Config) On() bool { return c.Endpoint != "" }

// Validate reads the headers, and says what is wrong by the names of flags.
func (c *Config) Validate() error {
	if !c.On() {
		if c.HeadersFile != "" {
			return errors.New("-trace-headers-file is set, and -trace-endpoint is not: set both, or none")
		}
		return nil
	}
	if c.OneIn < 0 || c.OneIn > oneInMax {
		return fmt.Errorf("-trace-one-in is %d, want 1 to %d, or 0 for none but those that come with a parent", c.OneIn, oneInMax)
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("-trace-endpoint is not valid: want http://host:4318 or https://host, without a query")
	}
	if u.User != nil {
		return errors.New("-trace-endpoint has a user: keys of a collector belong into headers, see -trace-headers-file")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces" // Where OTLP has them.
	}
	c.url = u.String()
	if c.headers, err = c.readHeaders(); err != nil {
		return err
	}
	if len(c.headers) > 0 && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return errors.New("-trace-endpoint is http and there are headers for it, which everybody on the way could read: want https://, or a loopback host")
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// readHeaders reads those of the file, or of the environment. Errors hold no values.
func (c *Config) readHeaders() (http.Header, error) {
	text, from := strings.ReplaceAll(c.Headers, ";", "\n"), "headers of traces in the environment"
	if c.HeadersFile != "" {
		from = "-trace-headers-file"
		if c.Headers != "" {
			return nil, errors.New("-trace-headers-file is set, and the headers of traces are in the environment too: want one of them")
		}
		b, err := os.ReadFile(c.HeadersFile)
		if err != nil {
			return nil, fmt.Errorf("-trace-headers-file: %w", err)
		}
		if len(b) > headersMax {
			return nil, fmt.Errorf("-trace-headers-file has more than %d bytes", headersMax)
		}
		text = string(b)
	}
	headers := make(http.Header)
	n := 0
	for line := range strings.Lines(text) {
		if n++; strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || value == "" {
			return nil, fmt.Errorf("%s, line %d: want Name: value", from, n)
		}
		headers.Add(name, value)
	}
	return headers, nil
}
