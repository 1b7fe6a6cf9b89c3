// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// BatchMost bounds the lines that are on their way at a time. Others are read when these are answered, so what is
	// not read yet waits at the caller.
	BatchMost = 1024
	// streamBuffer is what is read at a time.
	streamBuffer = 64 << 10
)

// lines reads lines of bounded length, and knows whether another can be had at once.
type lines struct {
	*bufio.Reader
}

// next returns a line without its end. errTooLong is of this line alone: the next call goes on behind it. The line is
// good until the next call.
func (l lines) next() (line []byte, err error) {
	line, err = l.ReadSlice('\n')
	long := len(line) > lineMax+1
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = l.ReadSlice('\n')
		long = true
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case long:
		return nil, errTooLong
	case err != nil && len(line) > 0:
		return line, nil // The last one has no end.
	}
	return line, err
}

// ready reports whether next would not wait.
func (l lines) ready() bool {
	has, _ := l.Peek(l.Buffered())
	return bytes.IndexByte(has, '\n') >= 0
}

// publishLines answers a stream of values with a stream of what became of them.
func (p *Port) publishLines(a *answer, r *http.Request) {
	rc := http.NewResponseController(a)
	if err := rc.EnableFullDuplex(); err != nil {
		a.problem(http.StatusHTTPVersionNotSupported, "want HTTP/1.1")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.ending, func() {
		cancel()
		_ = rc.SetReadDeadline(time.Now()) // Ends the wait for lines.
	})()
	a.Header().Set("Content-Type", "application/x-ndjson")
	a.Header().Set("Cache-Control", "no-store")
	counts := map[string]int{}
	defer func() { a.NoteResults(counts) }()
	in, o, out := lines{bufio.NewReaderSize(r.Body, streamBuffer)}, new(Order), []byte(nil)
	for ctx.Err() == nil {
		_ = rc.SetReadDeadline(time.Now().Add(StreamIdle))
		if p.ending.Err() != nil { // It may have ended before the deadline was set.
			return
		}
		b, end := p.readBatch(in, o)
		results := b.Await(ctx)
		out = out[:0]
		for i := range results {
			counts[results[i].Result]++
			out = results[i].append(out)
		}
		_ = rc.SetWriteDeadline(time.Now().Add(AnswerTime))
		if _, err := a.Write(out); err != nil || rc.Flush() != nil || end {
			return
		}
	}
}

// readBatch reads what there is: a line at least, and no more than can be had without waiting. end reports that no more come.
func (p *Port) readBatch(in lines, o *Order) (b *Batch, end bool) {
	b = p.NewBatch(64)
	for n := 0; n < BatchMost && (n == 0 || in.ready()); {
		line, err := in.next()
		switch {
		case errors.Is(err, errTooLong):
			b.flawed("", err)
			n++
			continue
		case err != nil:
			return b, true
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			b.line(line, o, time.Now())
		}
		n++
	}
	return b, false
}

// append appends the line of a result.
func (r *Result) append(dst []byte) []byte {
	dst = append(dst, '{')
	quoted := func(name, value string) {
		dst = append(append(dst, name...), ':')
		dst, _ = jsontext.AppendQuote(dst, value)
		dst = append(dst, ',')
	}
	if r.Topic != "" {
		quoted(`"topic"`, r.Topic)
	}
	if r.Ver != 0 {
		dst = append(dst, `"ver":`...)
		dst = append(strconv.AppendInt(dst, r.Ver, 10), ',')
	}
	quoted(`"result"`, r.Result)
	if r.Error != "" {
		quoted(`"error"`, r.Error)
	}
	dst[len(dst)-1] = '}'
	return append(dst, '\n')
}
