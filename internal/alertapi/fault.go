// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"tickedge/internal/alert"
)

// Fault is why something is not done. Its text is for who asked, and says what to do.
type Fault struct {
	Status int // Of HTTP. Other protocols make their codes of it.
	Detail string
	Retry  int    // Seconds after which to come back; 0 if that does not help.
	Header string // More header lines, each with its CRLF.
	Cause  error  // Of what is about the store's alerts, which error it was; else nil.

	final bool // The connection ends with it.
}

func (f *Fault) Error() string { return f.Detail }

// Unwrap implements the interface of package errors.
func (f *Fault) Unwrap() error { return f.Cause }

func refuse(status int, detail string) *Fault { return &Fault{Status: status, Detail: detail} }

func retry(status, seconds int, detail string) *Fault {
	return &Fault{Status: status, Retry: seconds, Detail: detail}
}

// header is the header lines of an answer.
func (f *Fault) header() string {
	if f.Retry == 0 {
		return f.Header
	}
	return f.Header + "Retry-After: " + strconv.Itoa(f.Retry) + "\r\n"
}

var (
	errNone = &Fault{Status: http.StatusNotFound, Cause: alert.ErrNone,
		Detail: "there is no such alert of this user: GET /alerts lists those there are"}
	errStale = &Fault{Status: http.StatusPreconditionFailed, Cause: alert.ErrState,
		Detail: "the alert has another arm by now: read it again, and decide anew"}
	errBug = refuse(http.StatusInternalServerError, "a bug of the server, which is in its log")
)

// stored makes a fault of an error of the store. Only those that are about what was asked are told.
func (s *Service) stored(ctx context.Context, what string, err error) *Fault {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, alert.ErrNone):
		return errNone
	case errors.Is(err, alert.ErrQuota):
		// It is no fault of the request itself, which succeeds as it is once there is room: so 409 and not 422.
		return &Fault{Status: http.StatusConflict, Cause: alert.ErrQuota,
			Detail: "the user has " + strconv.Itoa(s.cfg.Quota) + " alerts that are active or waiting, as many as allowed: delete some"}
	case errors.Is(err, alert.ErrKey):
		return &Fault{Status: http.StatusUnprocessableEntity, Cause: alert.ErrKey,
			Detail: "this Idempotency-Key was used with something else: want a new key for each alert"}
	case errors.Is(err, alert.ErrState):
		return &Fault{Status: http.StatusConflict, Cause: alert.ErrState,
			Detail: "the alert has changed meanwhile: read it again, and repeat the change"}
	}
	if ctx.Err() == nil {
		s.cfg.Log.Warn("alerts: the store does not do what was asked", "what", what, "error", err)
	}
	return retry(http.StatusServiceUnavailable, 2, "the store of alerts can't be asked now, try again later")
}
