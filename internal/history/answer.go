// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"tickedge/internal/bars"
	"tickedge/internal/httphead"
	"tickedge/internal/trade"
)

// page is what an answer has.
type page struct {
	ask
	bars []bars.Bar
	next string // Empty for none.
	live bool
	LiveSeries
}

// append appends the page in its form.
func (p *page) append(to []byte) []byte {
	switch p.form {
	case asNDJSON:
		for i := range p.bars {
			to = append(p.bars[i].AppendJSON(to), '\n')
		}
		return to
	case asCSV:
		to = append(to, "t,o,h,l,c,v,q,n,rev\r\n"...)
		for i := range p.bars {
			to = appendCSV(to, &p.bars[i])
		}
		return to
	}
	// Neither a name nor a cursor has a character that JSON escapes.
	to = append(append(append(to, `{"symbol":"`...), p.symbol...), `","tf":"`...)
	to = append(append(to, p.tf.Name...), `","bars":[`...)
	for i := range p.bars {
		if i > 0 {
			to = append(to, ',')
		}
		to = p.bars[i].AppendJSON(to)
	}
	to = append(to, `],"next":`...)
	if p.next == "" {
		to = append(to, "null"...)
	} else {
		to = append(append(append(to, '"'), p.next...), '"')
	}
	if p.live {
		if p.Open != nil {
			to = p.Open.AppendJSON(append(to, `,"open":`...))
		}
		to = strconv.AppendInt(append(to, `,"revs":`...), p.Revs, 10)
		if p.Ver != 0 {
			to = strconv.AppendInt(append(to, `,"ver":`...), p.Ver, 10)
		}
	}
	return append(to, '}')
}

// appendCSV appends a line (RFC 4180) with the numbers that a bar has in JSON.
func appendCSV(to []byte, b *bars.Bar) []byte {
	p, s := b.Symbol.PriceScale, b.Symbol.SizeScale
	to = append(strconv.AppendInt(to, b.Start, 10), ',')
	for _, v := range [...]int64{b.Open, b.High, b.Low, b.Close} {
		to = append(trade.AppendDecimal(to, v, p), ',')
	}
	to = append(b.Volume.AppendDecimal(to, s), ',')
	to = append(b.Turnover.AppendDecimal(to, p+s), ',')
	to = append(strconv.AppendInt(to, b.Count, 10), ',')
	return append(strconv.AppendInt(to, b.Rev, 10), "\r\n"...)
}

const (
	// settled is how long after its end a time has no more revisions: late trades count for an hour.
	settled = 2 * time.Hour
	// closedAge is for how long, in seconds, caches may use bars of such a time.
	closedAge = 3600
	// gzipMin is the size from which an answer is compressed.
	gzipMin = 1 << 10
)

// validity is the Cache-Control of an answer.
func (s *Server) validity(a *ask, now time.Time) string {
	v := "no-cache"
	if !a.current() && a.to <= now.Add(-settled).UnixMilli() {
		v = "max-age=" + strconv.Itoa(closedAge)
	}
	if s.cfg.Verifier != nil {
		v = "private, " + v
	}
	return v
}

// send answers with a page, or says that the client has it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, p *page) {
	work := works.Get().(*work)
	defer works.Put(work)
	work.body = p.append(work.body[:0])
	body := work.body
	hash := sha256.New()
	_, _ = hash.Write([]byte{byte(p.form)}) // It takes everything.
	_, _ = hash.Write([]byte(p.next))
	_, _ = hash.Write(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:16]) + `"`
	h := w.Header()
	h.Set("ETag", "W/"+tag) // Weak: it is the same for all codings.
	h.Set("Cache-Control", s.validity(&p.ask, time.Now()))
	h.Add("Vary", "Accept, Accept-Encoding")
	if p.next != "" && p.form != asJSON {
		q := r.URL.Query()
		q.Del("token")
		q.Set("before", p.next)
		h.Set("Link", "<"+(&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).String()+`>; rel="next"`)
	}
	for _, list := range r.Header["If-None-Match"] {
		if httphead.ListsTag([]byte(list), []byte(tag)) {
			s.counted(http.StatusNotModified)
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", forms[p.form].kind)
	if len(body) >= gzipMin && takesGzip(r.Header["Accept-Encoding"]) {
		h.Set("Content-Encoding", "gzip")
		body = work.zip()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	s.counted(http.StatusOK)
	_, _ = w.Write(body) // Who has gone needs no answer. A HEAD has no body: net/http leaves it out.
}

// work is what an answer is made in. A page has at most some 5,000 bars, so none of it is large.
type work struct {
	body   []byte
	packer *gzip.Writer
	out    bytes.Buffer
}

var works = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // The level is right.
	return &work{packer: z}
}}

// zip returns the body in gzip, until the next call.
func (w *work) zip() []byte {
	w.out.Reset()
	w.packer.Reset(&w.out)
	_, _ = w.packer.Write(w.body) // It is memory.
	_ = w.packer.Close()
	return w.out.Bytes()
}
