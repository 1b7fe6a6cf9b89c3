// SPDX-License-Identifier: Apache-2.0

package app

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
)

// Admin is the admin port of a program of this host or container, for its sub-command healthcheck: images of ours have no
// shell and no curl.
type Admin struct {
	Program string // Its name.
	Addr    string // -admin.
	Usual   string // Its default.
}

// answerMost is how much of an answer is read: a line.
const answerMost = 1 << 10

// Check asks for path, for at most a time, and writes what the port answers, or why it does not, as one line. It returns the exit
// code. An error says which flag is wrong.
func (a Admin) Check(ctx context.Context, path string, most time.Duration, stdout, stderr io.Writer) (code int, err error) {
	if most <= 0 {
		return Usage, fmt.Errorf("-timeout is %v, want more than 0s", most)
	}
	addr, err := a.local()
	if err != nil {
		return Usage, err
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	said, err := a.ask(ctx, addr, path)
	if err != nil {
		fmt.Fprintf(stderr, "%s healthcheck: %v\n", a.Program, err)
		return Failed, nil
	}
	fmt.Fprintln(stdout, said)
	return OK, nil
}

// ask returns what the port at addr answers to a GET of path, if that is 200.
func (a Admin) ask(ctx context.Context, addr, path string) (said string, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+path, nil)
	if err != nil {
		return "", fmt.Errorf("-admin is %q: %w", addr, err)
	}
	// It is the program that is asked, whatever proxy the environment names.
	client := http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", fmt.Errorf("%w: is %s running, with the same -admin or %s_ADMIN?", err, a.Program, strings.ToUpper(a.Program))
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

// local is the address at which the port is found by a program on the same host.
func (a Admin) local() (string, error) {
	host, port, err := net.SplitHostPort(a.Addr)
	switch {
	case a.Addr == "":
		return "", errors.New("-admin is empty, so there is no port that could be asked: set it, such as -admin " + a.Usual + ", or leave the healthcheck out")
	case err != nil || !IsHostPort(a.Addr):
		return "", fmt.Errorf("-admin is %q, want host:port such as %s", a.Addr, a.Usual)
	case port == "0":
		return "", fmt.Errorf("-admin is %q, and port 0 is another one at each start: set one, such as %s", a.Addr, a.Usual)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // A listener on [::] takes IPv4 too, where there is IPv4.
	}
	return net.JoinHostPort(host, port), nil
}
