// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/internal/bars"
)

// Limits of what a request may ask for.
const (
	LimitDefault = 500
	LimitMax     = 5000
)

// ask is what a request asks for.
type ask struct {
	symbol string
	tf     *bars.Interval
	from   int64
	to     int64 // math.MaxInt64 if the request does not say.
	limit  int
	before bool // to is of a cursor.
	form   form
}

// current reports whether the newest bars are asked for, and so the open one too.
func (a *ask) current() bool { return a.to == math.MaxInt64 }

// form is how bars are written.
type form uint8

const (
	asJSON form = iota
	asNDJSON
	asCSV
)

var forms = [...]struct{ name, kind string }{
	asJSON: {"json", "application/json"}, asNDJSON: {"ndjson", "application/x-ndjson"}, asCSV: {"csv", "text/csv; charset=utf-8"},
}

// readAsk reads a request. zone is that of a symbol.
func (s *Server) readAsk(r *http.Request, symbol string, q url.Values) (a ask, err error) {
	a = ask{symbol: symbol, limit: LimitDefault, to: math.MaxInt64}
	for name, values := range q {
		if len(values) > 1 {
			return a, fmt.Errorf("%.20s is there more than once", name)
		}
	}
	for _, tf := range s.cfg.Intervals {
		if tf.Name == q.Get("tf") {
			a.tf = tf
		}
	}
	if a.tf == nil {
		return a, fmt.Errorf("tf is %.20q, want one of %s", q.Get("tf"), s.intervals)
	}
	zone := time.UTC
	if known := s.cfg.Symbol(symbol); known != nil && known.Zone != nil {
		zone = known.Zone
	}
	if text := q.Get("from"); text != "" {
		if a.from, err = parseTime(text); err != nil {
			return a, fmt.Errorf("from %w", err)
		}
		a.from = a.tf.Start(a.from, zone)
	}
	if text := q.Get("to"); text != "" {
		if a.to, err = parseTime(text); err != nil {
			return a, fmt.Errorf("to %w", err)
		}
		if begin := a.tf.Start(a.to, zone); begin != a.to { // Bars that begin before it are wanted.
			a.to = a.tf.Next(begin, zone)
		}
	}
	if a.from > a.to {
		return a, errors.New("from is behind to")
	}
	if text := q.Get("before"); text != "" {
		at, ok := parseCursor(text, symbol, a.tf.Name)
		if !ok {
			return a, errors.New("before is no cursor of this symbol and tf: want what the page before this one has as next")
		}
		a.to, a.before = min(a.to, at), true
	}
	if text := q.Get("limit"); text != "" {
		if a.limit, err = strconv.Atoi(text); err != nil || a.limit < 1 || a.limit > LimitMax {
			return a, fmt.Errorf("limit is %.20q, want 1 to %d", text, LimitMax)
		}
	}
	a.form, err = formOf(q.Get("format"), r.Header["Accept"])
	return a, err
}

// timeMax is the end of the year 9999 in seconds, and secondsMax what is taken for seconds: as milliseconds it would be in
// March 1973.
const (
	timeMax    = 253402300799
	secondsMax = 100_000_000_000
)

// parseTime reads Unix seconds, Unix milliseconds or RFC 3339, into milliseconds. The error goes on from the name.
func parseTime(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 && n <= timeMax*1000 {
		if n < secondsMax {
			n *= 1000
		}
		return n, nil
	}
	// A plus of a zone that was not escaped is a blank.
	t, err := time.Parse(time.RFC3339, strings.Replace(text, " ", "+", 1))
	if err != nil || t.Unix() < 0 || t.Unix() > timeMax {
		return 0, fmt.Errorf("is %.40q, want Unix seconds or milliseconds, or a time such as 2026-11-27T09:30:00Z", text)
	}
	return t.UnixMilli(), nil
}

// A cursor is the start of the oldest bar of a page, and a sum of it and of the series: so one of another series is refused.
const cursorSize = 12

func appendCursor(to []byte, symbol, tf string, start int64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, cursorSize), uint64(start))
	b = binary.BigEndian.AppendUint32(b, cursorSum(b, symbol, tf))
	return base64.RawURLEncoding.AppendEncode(to, b)
}

func cursorSum(start []byte, symbol, tf string) uint32 {
	return crc32.ChecksumIEEE(slices.Concat([]byte("1"), start, []byte(symbol), []byte{0}, []byte(tf)))
}

func parseCursor(text, symbol, tf string) (start int64, ok bool) {
	if base64.RawURLEncoding.DecodedLen(len(text)) != cursorSize {
		return 0, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || binary.BigEndian.Uint32(b[8:]) != cursorSum(b[:8], symbol, tf) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), true
}

// formOf returns the form of an answer: what format says, or else what is liked the most of Accept (RFC 9110, 12.5.1). Who
// accepts none gets JSON.
func formOf(format string, accept []string) (best form, err error) {
	if format != "" {
		for f, is := range forms {
			if is.name == format {
				return form(f), nil
			}
		}
		return 0, fmt.Errorf("format is %.20q, want json, ndjson or csv", format)
	}
	most := 0.0
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, parameters, _ := strings.Cut(part, ";")
		f, known := asJSON, true
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "application/json", "*/*", "application/*":
		case "application/x-ndjson", "application/ndjson", "application/jsonl":
			f = asNDJSON
		case "text/csv", "text/*":
			f = asCSV
		default:
			known = false
		}
		if q := quality(parameters); known && q > most {
			best, most = f, q
		}
	}
	return best, nil
}

// quality is the weight among the parameters of an entry of Accept or Accept-Encoding. It is no number of a bar.
func quality(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || !(q >= 0 && q <= 1) {
				return 0
			}
			return q
		}
	}
	return 1
}

// takesGzip reports whether an answer may be compressed.
func takesGzip(accept []string) bool {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		coding, parameters, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			return quality(parameters) > 0
		}
	}
	return false
}
