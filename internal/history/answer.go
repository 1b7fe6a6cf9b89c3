// SPDX-License-Identifier: Apache-2.0

package history

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

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
	return p.appendEnd(p.appendBars(p.appendBegin(to), p.bars, true))
}

// appendBegin appends what stands before the bars.
func (p *page) appendBegin(to []byte) []byte {
	switch p.form {
	case asNDJSON:
		return to
	case asCSV:
		return append(to, "t,o,h,l,c,v,q,n,rev\r\n"...)
	}
	// Neither a name nor a cursor has a character that JSON escapes.
	to = append(append(append(to, `{"symbol":"`...), p.symbol...), `","tf":"`...)
	return append(append(to, p.tf.Name...), `","bars":[`...)
}

// appendBars appends bars of the page. first says that they are the first ones.
func (p *page) appendBars(to []byte, all []bars.Bar, first bool) []byte {
	for i := range all {
		b := &all[i]
		switch p.form {
		case asNDJSON:
			to = append(b.AppendJSON(to), '\n')
		case asCSV:
			to = appendCSV(to, b)
		default:
			if !first || i > 0 {
				to = append(to, ',')
			}
			to = b.AppendJSON(to)
		}
	}
	return to
}

// appendEnd appends what stands behind the bars.
func (p *page) appendEnd(to []byte) []byte {
	if p.form != asJSON {
		return to
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
	defer work.done()
	tag := work.tag(p)
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
	body, zipped := work.text(p, s.blocks, takesGzip(r.Header["Accept-Encoding"]))
	if zipped {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	s.counted(http.StatusOK)
	_, _ = w.Write(body) // Who has gone needs no answer. A HEAD has no body: net/http leaves it out.
}

// work is what an answer is made in. A page has at most some 5,000 bars, so none of it is large.
type work struct {
	body   []byte
	parts  []part
	packer *packer
	zip    member
}

var works = sync.Pool{New: func() any { return &work{packer: newPacker()} }}

// done lets go of the bars, and keeps the memory.
func (w *work) done() {
	clear(w.parts)
	works.Put(w)
}

// tag returns the ETag of a page. It is the same for pages that are, and does not take the text of the bars.
func (w *work) tag(p *page) string {
	w.parts, w.body = partsOf(p.bars, p.form, w.parts[:0], w.body)
	w.body = append(w.body[:0], byte(p.form))
	w.body = append(append(w.body, p.next...), 0)
	for i := range w.parts {
		w.body = append(w.body, w.parts[i].sum[:]...)
	}
	w.body = p.appendEnd(p.appendBegin(w.body))
	s := sha256.Sum256(w.body)
	return `"` + base64.RawURLEncoding.EncodeToString(s[:16]) + `"`
}

// sureBars is how many bars are at least gzipMin: a line of CSV has 19 bytes or more.
const sureBars = 64

// text returns the text of a page whose tag was made, until the next call; packed if that may be and it is long enough.
func (w *work) text(p *page, b *blocks, zip bool) (body []byte, zipped bool) {
	if !zip || len(p.bars) < sureBars {
		w.body = p.append(w.body[:0])
		if !zip || len(w.body) < gzipMin {
			return w.body, false
		}
		w.zip.begin()
		whole := w.packer.pack(w.body)
		w.zip.add(&whole)
		return w.zip.end(), true
	}
	w.zip.begin()
	w.body = p.appendBegin(w.body[:0])
	for i := range w.parts { // The first is no block.
		of := &w.parts[i]
		if !of.block {
			w.body = p.appendBars(w.body, of.bars, i == 0)
			continue
		}
		w.flush()
		block, ok := b.get(&of.sum)
		if !ok {
			w.body = p.appendBars(w.body, of.bars, false)
			block = w.packer.pack(w.body).kept()
			w.body = w.body[:0]
			b.put(&of.sum, block)
		}
		w.zip.add(&block)
	}
	w.body = p.appendEnd(w.body)
	w.flush()
	return w.zip.end(), true
}

// flush packs what is in no block.
func (w *work) flush() {
	if len(w.body) > 0 {
		text := w.packer.pack(w.body)
		w.zip.add(&text)
		w.body = w.body[:0]
	}
}
