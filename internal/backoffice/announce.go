// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// TextMax bounds the text of an announcement, in bytes.
const TextMax = 1024

// ValidText reports whether a text may be announced: 1 to [TextMax] bytes of UTF-8 without control characters other than
// line breaks and tabs. As JSON it is at most twice as long.
func ValidText(s string) bool {
	control := func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 }
	return s != "" && len(s) <= TextMax && utf8.ValidString(s) && !strings.ContainsFunc(s, control)
}

// notice is the body of POST /announce.
type notice struct {
	Text string `json:"text"`
	To   *struct {
		User *string `json:"user"`
		Conn *string `json:"conn"`
	} `json:"to"`
}

// filter says who is meant.
func (n *notice) filter() (f Filter, err error) {
	switch {
	case !ValidText(n.Text):
		return f, errors.New("want text of 1 to 1024 bytes of UTF-8, without control characters other than line breaks and tabs")
	case n.To == nil:
		return f, nil
	case n.To.User != nil && n.To.Conn == nil:
		if f.User = *n.To.User; f.User == "" || len(f.User) > UserMax {
			return f, errors.New("want user as the sub of a token, up to 256 bytes")
		}
		return f, nil
	case n.To.Conn != nil && n.To.User == nil:
		if f.Conn = *n.To.Conn; !connID.MatchString(f.Conn) {
			return f, errors.New("a connection is named by 8 hex digits, as in its hello")
		}
		return f, nil
	}
	return f, errors.New("want to with either user or conn, or no to for all")
}

// announce answers POST /announce.
func (p *Port) announce(a *answer, r *http.Request) {
	if !only(a, r) {
		return
	}
	if kind(r) != "application/json" {
		a.Header().Set("Accept", "application/json")
		a.problem(http.StatusUnsupportedMediaType, "want Content-Type: application/json")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(a, r.Body, lineMax))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		a.problem(http.StatusRequestEntityTooLarge, "the body is longer than 8192 bytes")
		return
	case err != nil:
		a.problem(http.StatusBadRequest, "the body has not come as it was announced")
		return
	}
	var n notice
	if json.Unmarshal(body, &n, json.RejectUnknownMembers(true)) != nil {
		a.problem(http.StatusUnprocessableEntity, `want one JSON object such as {"text":"Maintenance at 18:00 UTC","to":{"user":"alice"}}`)
		return
	}
	f, err := n.filter()
	if err != nil {
		a.problem(http.StatusUnprocessableEntity, err.Error())
		return
	}
	if !p.texts.Take(anybody, time.Now()) {
		a.fault(&Fault{Status: http.StatusTooManyRequests, Detail: "10 announcements a second at most", Retry: true})
		return
	}
	a.Note("to_user", f.User, "to_conn", f.Conn, "bytes", len(n.Text))
	sent, skipped, err := p.edge.Announce(r.Context(), f, n.Text)
	a.Note("sent", sent, "skipped", skipped)
	counts := map[string]any{"sent": sent, "skipped": skipped, "scope": scopeHere}
	switch {
	case err != nil:
		a.fault(errBusy)
	case f.Conn == "":
		told, err := p.edge.TellAnnounce(f.User, n.Text)
		a.reach(counts, a.reached(r.Context(), told, err))
	case sent+skipped == 0:
		a.problem(http.StatusNotFound, "this edge has no such connection that could have it")
	default:
		a.json(http.StatusOK, counts)
	}
}
