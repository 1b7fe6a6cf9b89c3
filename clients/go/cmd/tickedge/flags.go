// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	tickedge "tickedge/clients/go"
)

const (
	tokenEnv     = "TICKEDGE_TOKEN"
	tokenFileEnv = "TICKEDGE_TOKEN_FILE"
	urlEnv       = "TICKEDGE_URL"
	defaultURL   = "ws://localhost:8080/ws"
	getTimeout   = 10 * time.Second
	maxTokenFile = 64 << 10
)

// config is what the arguments and the environment say.
type config struct {
	command   string
	symbols   []string
	help      bool
	url       string
	token     string
	tokenFile string
	timeout   time.Duration
	interval  time.Duration
	json      bool

	// Of screens. Their topics are among the symbols.
	topics string
	where  string
	top    int
	by     string
}

// screenFlags are those of screen alone.
var screenFlags = []string{"topics", "where", "top", "by"}

func (c *config) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("tickedge", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.url, "url", "", "`URL` of the edge, "+defaultURL+" by default; or "+urlEnv+" in the environment")
	fs.StringVar(&c.token, "token", "", "the token, for an edge that asks for one. Other users of the host can read it in the list of processes: better "+
		tokenEnv+" in the environment, or -token-file")
	fs.StringVar(&c.tokenFile, "token-file", "", "`file` with the token, read again when the token is about to end; or "+tokenFileEnv+" in the environment")
	fs.DurationVar(&c.timeout, "timeout", 0, "how long to go on, such as 30s: 10s for get and prices, no end for watch and screen by default")
	fs.DurationVar(&c.interval, "interval", 0, "least `time` between two updates of a symbol, 100ms to 60s; the edge's own by default")
	fs.BoolVar(&c.json, "json", false, "JSON lines on a terminal too")
	fs.StringVar(&c.topics, "topics", "", "of screen: `patterns` and names with commas between them, such as 'crypto:*'; as if they were symbols")
	fs.StringVar(&c.where, "where", "", "of screen: the `condition`, such as 'chg_pct > 5 && v > 1e6'; docs/SCREENS.md has the language")
	fs.IntVar(&c.top, "top", 0, "of screen: only the first `count`, 1 to 100, ranked by -by")
	fs.StringVar(&c.by, "by", "", "of screen: the `member` to rank by, with a minus before it for the largest first: -chg_pct")
	return fs
}

// parse reads the arguments. Flags may stand before, between and behind the symbols; behind -- all are symbols.
func parse(args []string, getenv func(string) string) (config, error) {
	var c config
	fs := c.flags()
	var words []string
	for len(args) > 0 {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			c.help = true
			return c, nil
		}
		if err != nil { // That a duration is none is told without how one is written.
			if text, none := strings.CutSuffix(err.Error(), ": parse error"); none {
				err = errors.New(text + ": want a time such as 3s")
			}
			return c, err
		}
		rest := fs.Args()
		if parsed := len(args) - len(rest); parsed > 0 && args[parsed-1] == "--" {
			words = append(words, rest...)
			break
		}
		if args = rest; len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	if len(words) > 0 && words[0] == "help" {
		c.help = true
		return c, nil
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return c, c.complete(words, given, getenv)
}

// complete checks what was given, and takes the rest from the environment.
func (c *config) complete(words []string, given map[string]bool, getenv func(string) string) error {
	if len(words) > 0 && words[0] == "screen" && c.topics != "" {
		words = append(words, c.topics)
	}
	foreign := slices.IndexFunc(screenFlags, func(name string) bool { return given[name] && (len(words) == 0 || words[0] != "screen") })
	switch {
	case len(words) == 0:
		return errors.New("say what to do: tickedge get SYMBOL…, tickedge watch SYMBOL…, tickedge prices SYMBOL… or tickedge screen PATTERN…")
	case !slices.Contains([]string{"get", "watch", "prices", "screen"}, words[0]):
		return fmt.Errorf("there is no command %q: get, watch, prices and screen", words[0])
	case foreign >= 0:
		return fmt.Errorf("-%s is of tickedge screen", screenFlags[foreign])
	case len(words) == 1 && words[0] == "screen":
		return errors.New("say of which topics: tickedge screen -topics 'crypto:*'; '*' is all")
	case (given["top"] || given["by"]) && (c.top < 1 || c.top > 100 || c.by == ""):
		return errors.New("give -top, 1 to 100, and -by together, such as -top 20 -by -chg_pct")
	case len(words) == 1:
		return fmt.Errorf("say of which symbols: tickedge %s SYMBOL…", words[0])
	case slices.Contains(words[1:], ""):
		return errors.New("a symbol is empty")
	case given["timeout"] && c.timeout <= 0:
		return fmt.Errorf("-timeout is %v: want a time such as 30s", c.timeout)
	case given["interval"] && (c.interval < 100*time.Millisecond || c.interval > time.Minute):
		return fmt.Errorf("-interval is %v: want 100ms to 60s", c.interval)
	case c.token != "" && c.tokenFile != "":
		return errors.New("give -token or -token-file, not both")
	}
	c.command = words[0]
	for _, word := range words[1:] {
		for symbol := range strings.SplitSeq(word, ",") { // No name has a comma.
			if symbol != "" && !slices.Contains(c.symbols, symbol) {
				c.symbols = append(c.symbols, symbol)
			}
		}
	}
	if len(c.symbols) == 0 {
		return errors.New("there are commas alone, and no symbol")
	}
	if (c.command == "get" || c.command == "prices") && c.timeout == 0 {
		c.timeout = getTimeout
	}
	if c.url == "" {
		c.url = getenv(urlEnv)
	}
	if c.url == "" {
		c.url = defaultURL
	}
	if u, err := url.Parse(c.url); err != nil || schemes[u.Scheme] == "" || u.Host == "" { // Not shown: it may have a token.
		return errors.New("-url or " + urlEnv + " is not the URL of an edge: want one such as " + defaultURL)
	}
	if c.token == "" && c.tokenFile == "" {
		c.token, c.tokenFile = strings.TrimSpace(getenv(tokenEnv)), getenv(tokenFileEnv)
		if c.token != "" {
			c.tokenFile = ""
		}
	}
	if c.tokenFile != "" {
		_, err := readToken(c.tokenFile)
		return err
	}
	return nil
}

// readToken reads a file with a token. Its errors have no more of it than its name.
func readToken(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("the token can't be read: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	switch {
	case err != nil:
		return "", fmt.Errorf("the token can't be read: %w", err)
	case strings.TrimSpace(string(text)) == "":
		return "", fmt.Errorf("the file of the token is empty: %s", name)
	}
	return strings.TrimSpace(string(text)), nil
}

// client returns a client of the edge that was asked for.
func (c *config) client() *tickedge.Client {
	o := tickedge.Options{Interval: c.interval}
	switch {
	case c.tokenFile != "":
		o.Token = func(context.Context) (string, error) { return readToken(c.tokenFile) }
	case c.token != "":
		o.Token = func(context.Context) (string, error) { return c.token, nil }
	}
	return tickedge.New(c.url, o)
}

const columns = 80

func usage() string {
	var b strings.Builder
	b.WriteString(`The newest values of a Tickedge edge.

  tickedge get [flags] SYMBOL…     print the newest value of each, and end
  tickedge watch [flags] SYMBOL…   show the newest values until Ctrl-C
  tickedge prices [flags] SYMBOL…  print what there is now, by one request
  tickedge screen [flags] PATTERN… show the topics that fulfil a condition

`)
	b.WriteString(wrap(`On a terminal all print a table, which watch and screen redraw; otherwise, and with -json, a JSON object a line,
		with topic, state, value, n, conflated and ts, and code and reason where something is wrong. A value is what was published.
		The lines of prices have no ts; those of screen have the rank, and the state out for what is not inside any more.
		Flags may stand behind symbols too; behind -- all are symbols.`, 0) + "\n\n")
	fs := new(config).flags()
	fs.VisitAll(func(f *flag.Flag) {
		name, text := flag.UnquoteUsage(f)
		if name != "" {
			name = " " + name
		}
		fmt.Fprintf(&b, "  -%s%s\n        %s\n", f.Name, name, wrap(text, 8))
	})
	b.WriteString("\n" + wrap(`Exit codes: 0 every symbol had a value; 1 one had none in time, or the edge could not be reached
		or refused; 2 wrong usage, or a condition that is wrong. Ctrl-C ends watch and screen with 0, and get with 1.`, 0) + "\n")
	return b.String()
}

// wrap breaks a text into lines, of which all but the first begin with blanks.
func wrap(text string, indent int) string {
	var b strings.Builder
	at := indent
	for i, word := range strings.Fields(text) {
		switch n := len([]rune(word)); {
		case i > 0 && at+1+n > columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent + n
		case i > 0:
			b.WriteByte(' ')
			at += 1 + n
		default:
			at += n
		}
		b.WriteString(word)
	}
	return b.String()
}
