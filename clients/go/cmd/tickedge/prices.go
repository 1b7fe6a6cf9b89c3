// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	tickedge "tickedge/clients/go"
)

// schemes are those of an edge's URL, with that of its plain HTTP.
var schemes = map[string]string{"ws": "http", "wss": "https", "http": "http", "https": "https"}

// reasons are what the code of a symbol without a value means, as docs/PROTOCOL.md has it.
var reasons = map[int]string{
	http.StatusForbidden:             "the token, or the source, does not permit it",
	http.StatusNotFound:              "the source has no value of it",
	http.StatusRequestEntityTooLarge: "too many at once",
	http.StatusUnprocessableEntity:   "it is not the name of a topic, or its value can't be passed on",
	http.StatusTooManyRequests:       "too many new ones, try again later",
	http.StatusServiceUnavailable:    "the source has not answered, or is down",
}

// answerMax bounds what is read of an answer: the edge's have 1 MiB, and the names that are missing.
const answerMax = 4 << 20

// answered is the answer to /prices.
type answered struct {
	D []struct {
		S string
		N uint64
		V json.RawMessage
	}
	Missing []struct {
		Topic string
		Index *int
		Code  int
	}
	Detail string // Of a problem.
}

// prices prints the newest values by one request of plain HTTP, in the order of the symbols.
func prices(parent context.Context, c config, stdout, stderr io.Writer) int {
	ctx, stop := context.WithTimeoutCause(parent, c.timeout, errTimeout)
	defer stop()
	a, err := c.ask(ctx)
	if err != nil {
		if errors.Is(context.Cause(ctx), errTimeout) {
			err = errTimeout
		}
		return fail(stderr, err)
	}
	for _, row := range a.D {
		u := tickedge.Update{Topic: row.S, State: tickedge.Live, Value: row.V, N: row.N}
		if err := printValue(stdout, c, u); err != nil {
			return fail(stderr, err)
		}
	}
	for _, m := range a.Missing {
		name := m.Topic
		if m.Index != nil && *m.Index >= 0 && *m.Index < len(c.symbols) {
			name = c.symbols[*m.Index]
		}
		fmt.Fprintf(stderr, "tickedge: %s: %d %s\n", clean(name), m.Code, cmp.Or(reasons[m.Code], "no value"))
	}
	if len(a.D) < len(c.symbols) {
		return exitMissing
	}
	return exitOK
}

// ask makes the request. The error says what is wrong with the edge or the way to it.
func (c *config) ask(ctx context.Context) (a answered, err error) {
	at, err := c.pricesURL()
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return a, err
	}
	token := c.token
	if c.tokenFile != "" {
		if token, err = readToken(c.tokenFile); err != nil {
			return a, err
		}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	// A redirect could take the token elsewhere.
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err // The URL has the symbols in it, which may be many.
		}
		return a, fmt.Errorf("the edge can't be asked: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerMax))
	if err != nil {
		return a, fmt.Errorf("the answer is cut off: %w", err)
	}
	bad := json.Unmarshal(body, &a)
	if res.StatusCode != http.StatusOK {
		return a, fmt.Errorf("the edge answers with %s: %s", res.Status, cmp.Or(a.Detail, fmt.Sprintf("%.200s", strings.TrimSpace(string(body)))))
	}
	if bad != nil {
		return a, fmt.Errorf("the answer is none of an edge: %w", bad)
	}
	return a, nil
}

// pricesURL is where prices are, beside the WebSocket of -url.
func (c *config) pricesURL() (string, error) {
	u, err := url.Parse(c.url)
	if err != nil {
		return "", err // Does not happen: it was parsed before.
	}
	u.Scheme, u.User, u.Fragment = schemes[u.Scheme], nil, ""
	if i := strings.LastIndexByte(strings.TrimSuffix(u.Path, "/"), '/'); !strings.HasSuffix(u.Path, "/prices") {
		u.Path = u.Path[:max(i, 0)] + "/prices"
	}
	u.RawPath, u.RawQuery = "", "topics="+url.QueryEscape(strings.Join(c.symbols, ","))
	return u.String(), nil
}
