// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/time/rate"
)

const (
	requestTimeout = 20 * time.Second
	// responseMax bounds an answer. 1000 trades have some 200 KB.
	responseMax = 8 << 20
	// requestTries is how often a request is made that fails in a way that may pass.
	requestTries = 4
	// banMax is how long a request waits for an exchange that wants none. After that it fails.
	banMax = 2 * time.Minute
	// retryAfterMost bounds what an exchange may say: Binance bans for up to three days.
	retryAfterMost = 72 * time.Hour
	retryDefault   = 10 * time.Second
)

// errFinal is an answer that the same request would get again.
type errFinal struct{ error }

func (e errFinal) Unwrap() error { return e.error }

// rest asks an exchange for its history, within its limits.
type rest struct {
	in     *inlet
	client *http.Client
	limit  *rate.Limiter
}

func newREST(in *inlet, perSecond float64) *rest {
	return &rest{in: in, client: &http.Client{Timeout: requestTimeout}, limit: rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond), 50))}
}

// get asks for a path, with its query, which weighs as much as its exchange says. It waits as long as the
// exchange asks for, and tries again what may pass.
func (r *rest) get(ctx context.Context, path string, weight int, into any) error {
	wait := backoff{min: r.in.c.BackoffMin, max: r.in.c.BackoffMax}
	for try := 1; ; try++ {
		banned := r.in.banWait()
		if banned > banMax {
			return errFinal{fmt.Errorf("the exchange wants no requests for %v", banned.Round(time.Second))}
		}
		if !sleep(ctx, banned) {
			return ctx.Err()
		}
		if err := r.limit.WaitN(ctx, weight); err != nil {
			return err
		}
		err := r.once(ctx, path, into)
		var final errFinal
		if err == nil || errors.As(err, &final) || ctx.Err() != nil || try == requestTries {
			return err
		}
		if !sleep(ctx, wait.next()) {
			return ctx.Err()
		}
	}
}

func (r *rest) once(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.in.c.REST+path, nil)
	if err != nil {
		return errFinal{err}
	}
	req.Header.Set("User-Agent", "tickedge")
	if r.in.vendor.header != "" && r.in.c.Key != "" {
		req.Header.Set(r.in.vendor.header, r.in.c.Key)
	}
	req.Header.Set("Cache-Control", "no-cache") // Coinbase's answers are up to a second old otherwise.
	resp, err := r.client.Do(req)
	if err != nil {
		return errors.New(r.in.clean(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, responseMax+1))
	switch code := resp.StatusCode; {
	case err != nil:
		return err
	case len(body) > responseMax:
		return errFinal{fmt.Errorf("the answer has more than %d bytes", responseMax)}
	case code == http.StatusTooManyRequests, code == http.StatusTeapot, code == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		d := retryAfter(resp.Header)
		r.in.banFor(d)
		return fmt.Errorf("the exchange wants no requests for %v (%d)", d, code)
	case code >= 500:
		return fmt.Errorf("the exchange answers %d", code)
	case code != http.StatusOK:
		return errFinal{fmt.Errorf("the exchange answers %d: %s", code, strings.ToValidUTF8(string(body[:min(len(body), 200)]), "?"))}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errFinal{fmt.Errorf("the answer is not as documented: %w", err)}
	}
	return nil
}

// retryAfter reads Retry-After (RFC 9110, section 10.2.3).
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	d := retryDefault
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), retryAfterMost)
}
