// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/broker"
)

// History has closed bars. Any goroutine may use it.
type History interface {
	// Bars returns the closed bars of a symbol and interval that begin at from or later, and before to unless that is 0 (Unix milliseconds), the oldest
	// first; of more than [PastMax] the newest. A symbol or interval that the history does not have has none.
	Bars(ctx context.Context, symbol, interval string, from, to int64) ([]alert.Bar, error)
}

// PastMax bounds what is asked for at once: a day of seconds, and some.
const PastMax = 100_000

const (
	pageBars    = 5000
	pageMax     = 4 << 20 // Bytes.
	pageTimeout = 10 * time.Second
)

// HTTPHistory is a [History] that is asked by GET /history/{symbol}.
type HTTPHistory struct {
	base   string
	bearer string
	client *http.Client
}

// NewHTTPHistory returns the history at a URL such as http://127.0.0.1:8090. bearer is a token, or empty.
func NewHTTPHistory(base, bearer string) (*HTTPHistory, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("the URL of the history is not valid: want http://host:port, such as http://127.0.0.1:8090")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = askMax, askMax
	return &HTTPHistory{strings.TrimSuffix(u.String(), "/") + "/history/", bearer, &http.Client{Transport: transport, Timeout: pageTimeout}}, nil
}

type historyPage struct {
	Bars []historyBar `json:"bars"`
	Next *string      `json:"next"`
}

type historyBar struct {
	T int64     `json:"t"`
	O alert.Num `json:"o"`
	H alert.Num `json:"h"`
	L alert.Num `json:"l"`
	C alert.Num `json:"c"`
}

func (b *historyBar) bar(interval string) alert.Bar {
	return alert.Bar{Interval: interval, Start: b.T, End: b.T + lengthOf(interval), Open: b.O, High: b.H, Low: b.L, Close: b.C}
}

// Bars implements [History].
func (h *HTTPHistory) Bars(ctx context.Context, symbol, interval string, from, to int64) (all []alert.Bar, err error) {
	q := url.Values{"tf": {interval}, "limit": {strconv.Itoa(pageBars)}, "from": {time.UnixMilli(max(0, from)).UTC().Format(time.RFC3339Nano)}}
	if to > 0 {
		q.Set("to", time.UnixMilli(to).UTC().Format(time.RFC3339Nano))
	}
	for len(all) < PastMax { // The newest page comes first.
		page, err := h.page(ctx, h.base+url.PathEscape(symbol)+"?"+q.Encode())
		if err != nil {
			return nil, fmt.Errorf("GET /history of %s %s: %w", symbol, interval, err)
		}
		for i := len(page.Bars) - 1; i >= 0; i-- {
			if page.Bars[i].T >= from {
				all = append(all, page.Bars[i].bar(interval))
			}
		}
		if page.Next == nil || len(page.Bars) == 0 {
			break
		}
		q.Set("before", *page.Next)
	}
	slices.Reverse(all)
	return all, nil
}

// page gets one page, trying again where it is told to come later.
func (h *HTTPHistory) page(ctx context.Context, at string) (page historyPage, err error) {
	for try := 1; ; try++ {
		var again time.Duration
		page, again, err = h.get(ctx, at)
		if again == 0 || try > 5 || !broker.Sleep(ctx, again) {
			return page, err
		}
	}
}

func (h *HTTPHistory) get(ctx context.Context, at string) (page historyPage, again time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return page, 0, err
	}
	r.Header.Set("Accept", "application/json")
	if h.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+h.bearer)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // The URL is said already.
		}
		return page, 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return page, 0, json.NewDecoder(io.LimitReader(resp.Body, pageMax)).Decode(&page)
	case http.StatusNotFound, http.StatusBadRequest: // No such symbol, or an interval that is not made.
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
		return page, 0, nil
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return page, time.Duration(min(max(seconds, 1), 5)) * time.Second, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return page, 0, fmt.Errorf("HTTP %d: %s", resp.StatusCode, hintOf(resp.StatusCode))
}

func hintOf(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "want a token that allows kline:* (-history-token-file)"
	}
	return "is this the port of marketdata's history (-listen there)?"
}
