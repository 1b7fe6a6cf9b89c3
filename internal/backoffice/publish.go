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

// Order is one value that is to be published.
type Order struct {
	Topic string         `json:"topic"`
	Value jsontext.Value `json:"value"`
	Ver   *int64         `json:"ver"` // Nil is that of the value, or of the clock.
}

// Result is what became of it.
type Result struct {
	Topic  string `json:"topic,omitempty"`
	Ver    int64  `json:"ver,omitempty"`
	Result string `json:"result"` // In lower case: taken, outdated, and so on.
	Error  string `json:"error,omitempty"`
}

var (
	errLine     = errors.New(`want one JSON object such as {"topic":"AAPL","value":{"p":189.87}}, with "ver" if you like`)
	errTooLong  = errors.New("it is longer than 8192 bytes")
	errReserved = errors.New("topics that begin with tickedge: are those of the edges")
)

// read makes an order of a line.
func (o *Order) read(line []byte) error {
	*o = Order{Value: o.Value[:0]}
	if json.Unmarshal(line, o, json.RejectUnknownMembers(true)) != nil || len(o.Value) == 0 {
		return errLine
	}
	return nil
}

// tickOf makes a tick of an order.
func (s *Service) tickOf(o *Order, now time.Time) (t broker.Tick, err error) {
	switch {
	case len(o.Topic)+len(o.Value) > lineMax:
		return t, errTooLong
	case !topics.ValidName(o.Topic):
		return t, errors.New("the topic is not valid: want " + topics.NameRule)
	}
	t = broker.Tick{Topic: o.Topic, Value: o.Value}
	if strings.HasPrefix(o.Topic, topics.Reserved) {
		return t, errReserved
	}
	if o.Ver != nil {
		if t.Ver = *o.Ver; t.Ver <= 0 {
			return t, errors.New("ver is to be a whole number above 0")
		}
	} else if has, f := broker.InspectVersion(string(o.Value), broker.VersionMember); f == broker.Flawless && has.Whole > 0 {
		t.Ver = has.Whole
	} else {
		t.Ver = s.clock.Next(now)
	}
	return t, nil
}

// Batch is values that were put on their way, and what has become of them until now. Who does not wait any more leaves it
// to those who still tell it.
type Batch struct {
	service *Service
	mu      sync.Mutex
	results []Result
	open    int           // Lines that are not known, and one as long as lines come.
	done    chan struct{} // Closed when all are known.
}

// NewBatch returns one that is empty. The size is a guess.
func (s *Service) NewBatch(size int) *Batch {
	return &Batch{service: s, results: make([]Result, 0, size), open: 1, done: make(chan struct{})}
}

// line takes one line. Like Put it is called by one goroutine, before Await.
func (b *Batch) line(line []byte, o *Order, now time.Time) {
	if err := o.read(line); err != nil {
		b.flawed("", err)
		return
	}
	b.Put(o, now)
}

// Put has an order published, or notes what is wrong with it. The value may be used again when it returns.
func (b *Batch) Put(o *Order, now time.Time) {
	s := b.service
	t, err := s.tickOf(o, now)
	if err != nil {
		b.flawed(t.Topic, err)
		return
	}
	b.mu.Lock()
	i := len(b.results)
	b.results = append(b.results, Result{Topic: t.Topic, Ver: t.Ver, Result: waiting})
	b.open++
	b.mu.Unlock()
	if err = s.edge.Publish(t, func(f broker.Fate) { b.told(i, f) }); err == nil {
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

func (b *Batch) flawed(topic string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results = append(b.results, Result{Topic: topic, Result: invalid, Error: err.Error()})
}

// told notes what became of a tick. The last one of a batch whose lines are all in ends the wait.
func (b *Batch) told(i int, f broker.Fate) {
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
func (b *Batch) less() {
	if b.open--; b.open == 0 {
		close(b.done)
	}
}

// Await returns what became of the values after a while, of some of them that they still wait. None comes behind it.
func (b *Batch) Await(ctx context.Context) []Result {
	b.mu.Lock()
	b.less()
	b.mu.Unlock()
	timer := time.NewTimer(b.service.wait)
	defer timer.Stop()
	select {
	case <-b.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Result(nil), b.results...)
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
	b := p.NewBatch(1)
	b.line(bytes.TrimSpace(body), new(Order), time.Now())
	res := b.Await(r.Context())[0]
	a.Note("topic", res.Topic, "result", res.Result)
	switch res.Result {
	case invalid, denied:
		a.problem(http.StatusUnprocessableEntity, res.Error)
	case refused:
		a.fault(&Fault{Status: http.StatusServiceUnavailable, Detail: res.Error, Retry: true})
	case waiting:
		a.json(http.StatusAccepted, res)
	default:
		a.json(http.StatusOK, res)
	}
}
