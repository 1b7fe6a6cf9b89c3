// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// lineMax bounds one value with its topic, in bytes: the body of a request, or a line of a stream.
const lineMax = 8 << 10

// What became of a value. Waiting is not known yet: it is on its way, and will be written unless a newer one of its
// topic takes its place.
const (
	taken      = "taken"
	outdated   = "outdated"
	superseded = "superseded"
	invalid    = "invalid"
	waiting    = "waiting"
	refused    = "refused"
	denied     = "denied"
)

// order is one value that is to be published.
type order struct {
	Topic string         `json:"topic"`
	Value jsontext.Value `json:"value"`
	Ver   *int64         `json:"ver"`
}

// result is what became of it.
type result struct {
	Topic  string `json:"topic,omitempty"`
	Ver    int64  `json:"ver,omitempty"`
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

var (
	errLine     = errors.New(`want one JSON object such as {"topic":"AAPL","value":{"p":189.87}}, with "ver" if you like`)
	errTooLong  = errors.New("it is longer than 8192 bytes")
	errReserved = errors.New("topics that begin with tickedge: are those of the edges")
)

// parse makes a tick of a line.
func (p *Port) parse(line []byte, o *order, now time.Time) (t broker.Tick, err error) {
	*o = order{Value: o.Value[:0]}
	if json.Unmarshal(line, o, json.RejectUnknownMembers(true)) != nil {
		return t, errLine
	}
	switch {
	case len(o.Value) == 0:
		return t, errLine
	case !topics.ValidName(o.Topic):
		return t, errors.New("the topic is not valid: want " + topics.NameRule)
	}
	t = broker.Tick{Topic: o.Topic, Value: o.Value}
	switch {
	case strings.HasPrefix(o.Topic, topics.Reserved):
		return t, errReserved
	}
	if o.Ver != nil {
		if t.Ver = *o.Ver; t.Ver <= 0 {
			return t, errors.New("ver is to be a whole number above 0")
		}
	} else if has, f := broker.InspectVersion(string(o.Value), broker.VersionMember); f == broker.Flawless && has.Whole > 0 {
		t.Ver = has.Whole
	} else {
		t.Ver = p.clock.Next(now)
	}
	return t, nil
}

// batch is values that were put on their way, and what has become of them until now. Who does not wait any more leaves it
// to those who still tell it.
type batch struct {
	mu      sync.Mutex
	results []result
	open    int           // Lines that are not known, and one as long as lines come.
	done    chan struct{} // Closed when all are known.
}

func newBatch(size int) *batch {
	return &batch{results: make([]result, 0, size), open: 1, done: make(chan struct{})}
}

// put takes one line, and adds what is wrong with one. Both are called by one goroutine, before await.
func (b *batch) put(p *Port, line []byte, o *order, now time.Time) {
	t, err := p.parse(line, o, now)
	if err != nil {
		b.flawed(t.Topic, err)
		return
	}
	b.mu.Lock()
	i := len(b.results)
	b.results = append(b.results, result{Topic: t.Topic, Ver: t.Ver, Result: waiting})
	b.open++
	b.mu.Unlock()
	if err = p.edge.Publish(t, func(f broker.Fate) { b.told(i, f) }); err == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	b.results[i].Result, b.results[i].Error = invalid, err.Error()
	if errors.Is(err, broker.ErrQueueFull) || errors.Is(err, broker.ErrQueueClosed) {
		b.results[i].Result = refused
	}
}

func (b *batch) flawed(topic string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results = append(b.results, result{Topic: topic, Result: invalid, Error: err.Error()})
}

// told notes what became of a tick. The last one of a batch whose lines are all in ends the wait.
func (b *batch) told(i int, f broker.Fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r := &b.results[i]; f {
	case broker.Taken:
		r.Result = taken
	case broker.Outdated:
		r.Result = outdated
	case broker.Superseded:
		r.Result = superseded
	case broker.Flawed:
		r.Result, r.Error = invalid, "the broker can't take it"
	case broker.Unknown: // It may be written, or not.
		r.Error = "the edge has stopped meanwhile"
	default:
		why, _ := f.Refusal()
		r.Result, r.Error = denied, "the broker does not take this topic: "+why
		if f == broker.TooLarge {
			r.Error = "the broker does not take it: " + why
		}
	}
	b.less()
}

// less is called with the lock held.
func (b *batch) less() {
	if b.open--; b.open == 0 {
		close(b.done)
	}
}

// await returns what became of the lines, of some of them that they still wait. No line comes behind it.
func (b *batch) await(ctx context.Context, atMost time.Duration) []result {
	b.mu.Lock()
	b.less()
	b.mu.Unlock()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-b.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]result(nil), b.results...)
}

// publish answers POST /publish.
func (p *Port) publish(a *answer, r *http.Request) {
	switch kind(r) {
	case "application/json":
	case "application/x-ndjson":
		p.publishLines(a, r)
		return
	default:
		a.Header().Set("Accept", "application/json, application/x-ndjson")
		a.problem(http.StatusUnsupportedMediaType, "want Content-Type: application/json for one value, or application/x-ndjson for a stream of them")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(a, r.Body, lineMax))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		a.problem(http.StatusRequestEntityTooLarge, "the value is longer than 8192 bytes with its topic")
		return
	case err != nil:
		a.problem(http.StatusBadRequest, "the body has not come as it was announced")
		return
	}
	b := newBatch(1)
	b.put(p, bytes.TrimSpace(body), new(order), time.Now())
	res := b.await(r.Context(), p.wait)[0]
	a.note("topic", res.Topic, "result", res.Result)
	switch res.Result {
	case invalid, denied:
		a.problem(http.StatusUnprocessableEntity, res.Error)
	case refused:
		a.Header().Set("Retry-After", "1")
		a.problem(http.StatusServiceUnavailable, res.Error)
	case waiting:
		a.json(http.StatusAccepted, res)
	default:
		a.json(http.StatusOK, res)
	}
}
