// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"tickedge/internal/app"
	"tickedge/internal/flags"
)

const healthHelp = `edge healthcheck asks the edge of this host or container whether it is ready, for images
that have no shell and no curl:

  HEALTHCHECK CMD ["/edge", "healthcheck"]

It takes all flags of edge and their environment variables, of which it uses -admin: it asks
/readyz of that port. With -live it asks /healthz, which says that the process works: for
checks by which an edge is ended and started anew, as an edge that waits for its Redis is not
mended by that. -timeout (3s) is for all of it.

Exit code: 0 ready; 1 not ready, or no answer, with a line that says why; 2 a flag is wrong.
`

// answerMost is how much of an answer is read: a line.
const answerMost = 1 << 10

// healthcheck is the sub-command healthcheck. It returns the exit code.
func healthcheck(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	c := newConfig()
	c.flags.OnlyArgs("timeout", "live")
	timeout := c.flags.Duration("timeout", 3*time.Second, "how long an answer may take")
	live := c.flags.Bool("live", false, "ask /healthz instead of /readyz: whether the process works")
	switch err := c.read(args); {
	case flags.Asked(err):
		return tell(stdout, err, func(w io.Writer) { fmt.Fprint(w, healthHelp) })
	case err != nil:
		return misused(stderr, "edge healthcheck", c, c.flags.Conceal(err, args))
	case *timeout <= 0:
		return misused(stderr, "edge healthcheck", c, fmt.Errorf("-timeout is %v, want more than 0s", *timeout))
	}
	addr, err := askAt(c.admin)
	if err != nil {
		return misused(stderr, "edge healthcheck", c, err)
	}
	path := "/readyz"
	if *live {
		path = "/healthz"
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	said, err := ask(ctx, addr, path)
	if err != nil {
		fmt.Fprintln(stderr, "edge healthcheck:", err)
		return app.Failed
	}
	fmt.Fprintln(stdout, said)
	return app.OK
}

// ask returns what the admin port at addr answers to a GET of path, if that is 200.
func ask(ctx context.Context, addr, path string) (said string, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+path, nil)
	if err != nil {
		return "", fmt.Errorf("-admin is %q: %w", addr, err)
	}
	// It is the edge that is asked, whatever proxy the environment names.
	client := http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", fmt.Errorf("%w: is the edge running, with the same -admin or EDGE_ADMIN?", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	if err != nil {
		return "", fmt.Errorf("the answer to http://%s%s ends early: %w", addr, path, err)
	}
	said, _, _ = strings.Cut(strings.TrimSpace(string(body)), "\n")
	if said = strings.Map(printable, strings.TrimSpace(said)); resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("http://%s%s: %s: %s", addr, path, resp.Status, said)
	}
	return said, nil
}

// printable has what an answer may do to a terminal or a log replaced.
func printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
		return '?'
	}
	return r
}

// askAt is the address at which a listener on addr is found by a program on the same host.
func askAt(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case addr == "":
		return "", errors.New("-admin is empty, so there is no port that could be asked: set it, such as -admin 127.0.0.1:8081, or leave the healthcheck out")
	case err != nil || !app.IsHostPort(addr):
		return "", fmt.Errorf("-admin is %q, want host:port such as 127.0.0.1:8081", addr)
	case port == "0":
		return "", fmt.Errorf("-admin is %q, and port 0 is another one at each start: set one, such as 127.0.0.1:8081", addr)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // A listener on [::] takes IPv4 too, where there is IPv4.
	}
	return net.JoinHostPort(host, port), nil
}
