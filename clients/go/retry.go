// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// ErrClosed is what a closed client or subscription returns.
var ErrClosed = errors.New("tickedge: closed")

// ConnError ends a client: the edge has refused it, and would do so again.
type ConnError struct {
	Code   int // The close code of docs/PROTOCOL.md, or 0.
	Status int // The HTTP status of a handshake that was refused, or 0.
	Reason string
}

func (e *ConnError) Error() string {
	switch {
	case e.Code != 0:
		return fmt.Sprintf("tickedge: closed by the edge: %d %s", e.Code, e.Reason)
	case e.Status != 0:
		return fmt.Sprintf("tickedge: refused by the edge: %d %s", e.Status, e.Reason)
	}
	return "tickedge: " + e.Reason
}

const (
	stable       = 10 * time.Second // A connection that lived this long begins the pauses anew.
	longestPause = 10 * time.Minute // Whatever an edge says.
	slowPause    = 1500 * time.Millisecond
)

// verdict is what follows from the end of a connection, or of an attempt.
type verdict struct {
	code   int
	reason string
	pause  time.Duration
	never  error // The client ends.
	park   bool  // Come back when there is a new topic to subscribe.
	badTok bool  // The token is not to be shown again.
}

// ending is how a connection or an attempt ended.
type ending struct {
	err    error
	status int           // Of a refused handshake.
	after  time.Duration // What the edge asks for, or less than 0.
	lived  time.Duration // Since the hello.
	again  bool          // There was a connection before.
	tries  int           // Short ones in a row, this one left out.
	token  bool          // The client can get another token.
}

// code returns the close code, or 0.
func (e ending) code() int { return max(0, int(websocket.CloseStatus(e.err))) }

// reason says in short why, without the URL, whose query may have a secret.
func (e ending) reason() string {
	var closed websocket.CloseError
	if errors.As(e.err, &closed) {
		if closed.Reason == "" {
			return "closed by the edge"
		}
		return closed.Reason
	}
	var fatal *ConnError
	if errors.As(e.err, &fatal) {
		return fatal.Reason
	}
	err := e.err
	var ofURL *url.Error
	if errors.As(err, &ofURL) {
		err = ofURL.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "the edge is silent"
	}
	return err.Error()
}

// judge decides by the class of a close code, or of a status, what is next. jitter returns a random part of a time.
func (e ending) judge(o Options, jitter func(time.Duration) time.Duration) verdict {
	v := verdict{code: max(e.code(), e.status), reason: e.reason()}
	v.pause = jitter(backoff(o, e.tries))
	if e.status != 0 {
		v.refused(e)
	} else {
		v.closed(e, o)
	}
	if e.after >= 0 {
		v.pause = min(e.after, longestPause)
		if e.lived < stable && e.tries > 2 { // An edge that asks for haste and then has no use for it.
			v.pause = max(v.pause, jitter(backoff(o, e.tries-2)))
		}
	}
	var fatal *ConnError
	switch {
	case errors.As(e.err, &fatal):
		v.never = fatal
	case errors.Is(e.err, errSameToken) && !e.again:
		v.never = &ConnError{Status: http.StatusUnauthorized, Reason: v.reason}
	}
	return v
}

// closed judges close codes: 4000 to 4499 come back, 4500 to 4999 and breaches of the protocol don't.
func (v *verdict) closed(e ending, o Options) {
	never := &ConnError{Code: v.code, Reason: v.reason}
	switch code := v.code; {
	case code == 4501 && e.token:
		v.badTok = true
	case code == 1002, code == 1003, code == 1007, code == 1008, code == 1009, code >= 4500 && code < 5000:
		v.never = never
	case code == 4001:
		v.pause += slowPause
	case code == 4003:
		v.park = true
	case code == 4004 && e.lived >= stable:
		v.pause = 0
	}
}

// refused judges the status of a handshake. What a client that never was connected takes for the last word may be a proxy's
// that is just restarted for one that was.
func (v *verdict) refused(e ending) {
	switch e.status {
	case http.StatusUnauthorized:
		if v.badTok = e.token; !e.token {
			v.never = &ConnError{Status: e.status, Reason: v.reason}
		}
	case 400, 403, 404, 405, 426, 431, 505:
		if !e.again {
			v.never = &ConnError{Status: e.status, Reason: v.reason}
		}
	}
}

// backoff is the longest pause after so many failures.
func backoff(o Options, tries int) time.Duration {
	d := o.MinBackoff
	for range tries {
		if d *= 2; d >= o.MaxBackoff {
			return o.MaxBackoff
		}
	}
	return d
}

func jitter(d time.Duration) time.Duration { return rand.N(d + 1) }

// retryAfter reads the header field of that name: seconds or a date; less than 0 is none.
func retryAfter(field string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(field, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(field); err == nil {
		return max(0, at.Sub(now))
	}
	return -1
}
