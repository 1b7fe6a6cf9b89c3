// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	queueMost   = 2048            // Spans that wait for the collector, at some 1 KB.
	batchMost   = 256             // Spans of a request.
	batchWait   = time.Second     // How long the first span of a request waits for others.
	postTimeout = 5 * time.Second // Of a request.
	lastTimeout = time.Second     // Of what is left at the end.
	answerMost  = 64 << 10        // Bytes of an answer that are read, so that the connection is used again.
)

// exporter brings spans to a collector. Who ends a span does not wait: where the queue is full it is dropped. What the
// collector does not take is not sent again.
type exporter struct {
	url    string
	header http.Header
	client *http.Client
	log    *slog.Logger
	queue  chan sdktrace.ReadOnlySpan
	down   bool // The last request has failed, and that was logged.

	exported, dropped, failed atomic.Uint64
}

func newExporter(c Config, log *slog.Logger) *exporter {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = answerMost
	transport.MaxConnsPerHost = 1
	return &exporter{
		url: c.url, header: c.headers, log: log, queue: make(chan sdktrace.ReadOnlySpan, queueMost),
		client: &http.Client{
			Transport: transport,
			// Headers may be keys. They are for whom the operator has named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// OnEnd implements [sdktrace.SpanProcessor], as do the other methods in capitals. A span costs what it takes to put it into a
// queue.
func (e *exporter) OnEnd(s sdktrace.ReadOnlySpan) {
	select {
	case e.queue <- s:
	default:
		e.dropped.Add(1)
	}
}

func (e *exporter) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (e *exporter) Shutdown(context.Context) error                  { return nil }
func (e *exporter) ForceFlush(context.Context) error                { return nil }

// run exports until ctx ends, and then what is left.
func (e *exporter) run(ctx context.Context) {
	defer e.client.CloseIdleConnections()
	var batch []sdktrace.ReadOnlySpan
	for {
		select {
		case s := <-e.queue:
			batch = e.fill(ctx, append(batch[:0], s))
			e.post(ctx, batch)
			clear(batch)
		case <-ctx.Done():
			e.last()
			return
		}
	}
}

// last exports what is left when the program ends.
func (e *exporter) last() {
	ctx, cancel := context.WithTimeout(context.Background(), lastTimeout)
	defer cancel()
	for len(e.queue) > 0 {
		var batch []sdktrace.ReadOnlySpan
		for len(e.queue) > 0 && len(batch) < batchMost {
			batch = append(batch, <-e.queue)
		}
		e.post(ctx, batch)
	}
}

// fill waits for more spans, for a while.
func (e *exporter) fill(ctx context.Context, batch []sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	over := time.NewTimer(batchWait)
	defer over.Stop()
	for len(batch) < batchMost {
		select {
		case s := <-e.queue:
			batch = append(batch, s)
		case <-over.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// post sends spans. That it fails is said once, and when it works again.
func (e *exporter) post(ctx context.Context, batch []sdktrace.ReadOnlySpan) {
	err := e.send(ctx, encode(batch))
	if err != nil && ctx.Err() != nil { // The end may have come in the middle of it.
		last, cancel := context.WithTimeout(context.Background(), lastTimeout)
		defer cancel()
		err = e.send(last, encode(batch))
	}
	if err != nil {
		e.failed.Add(uint64(len(batch)))
		if !e.down {
			e.down = true
			e.log.Warn("traces can't be exported; they are dropped until they can", "url", e.url, "error", err,
				"hint", "see that the collector of -trace-endpoint runs and takes OTLP over HTTP")
		}
		return
	}
	e.exported.Add(uint64(len(batch)))
	if e.down {
		e.down = false
		e.log.Info("traces can be exported again", "url", e.url)
	}
}

func (e *exporter) send(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL is not valid")
	}
	for name, values := range e.header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.client.Do(req)
	if err != nil {
		if quoting := (*url.Error)(nil); errors.As(err, &quoting) {
			err = quoting.Err
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, answerMost)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return nil
}
