// SPDX-License-Identifier: Apache-2.0

// Package tracingtest is a collector for tests: it takes OTLP over HTTP in JSON, refuses what a real one would refuse, and keeps
// the spans.
package tracingtest

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Span is a span that was exported.
type Span struct {
	Service, Name     string
	Trace, ID, Parent string // In hex; Parent is "" for a root.
	Remote            bool   // The parent is one of another process, or of another part of this one.
	Kind              int    // As OTLP numbers them.
	Start, End        time.Time
	Attributes        map[string]string
}

// Collector is a collector that runs.
type Collector struct {
	URL string

	t       testing.TB
	mu      sync.Mutex
	spans   []Span
	headers []http.Header
	status  int
}

// Start starts one, which ends with the test.
func Start(t testing.TB) *Collector {
	c := &Collector{t: t}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

// Answer has all requests answered with a status, and their spans left out; 0 is as usual.
func (c *Collector) Answer(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

// Spans are all that came, in no order.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Trace is the spans of a trace, by when they began and, of those that began together, each behind its parent.
func (c *Collector) Trace(id string) (of []Span) {
	for _, s := range c.Spans() {
		if s.Trace == id {
			of = append(of, s)
		}
	}
	depth := func(s Span) (n int) {
		for i := 0; i >= 0 && n <= len(of); n++ {
			if i = slices.IndexFunc(of, func(p Span) bool { return p.ID == s.Parent }); i >= 0 {
				s = of[i]
			}
		}
		return n
	}
	slices.SortFunc(of, func(a, b Span) int { return depth(a) - depth(b) })
	return of
}

// Headers are those of the requests that came.
func (c *Collector) Headers() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.headers)
}

// Text is a trace as people read it, a line for each span: its times after the begin of the first one.
func Text(of []Span) string {
	var b strings.Builder
	for i, s := range of {
		if i == 0 {
			fmt.Fprintf(&b, "trace %s\n", s.Trace)
		}
		parent := "-"
		if s.Parent != "" {
			parent = s.Parent
		}
		fmt.Fprintf(&b, "%-10s  %-10s  span %s  parent %-16s  %8.3f ms to %8.3f ms\n", s.Service, s.Name, s.ID, parent,
			s.Start.Sub(of[0].Start).Seconds()*1e3, s.End.Sub(of[0].Start).Seconds()*1e3)
	}
	return b.String()
}

// ServeHTTP implements [http.Handler].
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = append(c.headers, r.Header)
	if c.status != 0 {
		w.WriteHeader(c.status)
		return
	}
	spans, err := take(r)
	if err != nil {
		c.t.Errorf("a collector would refuse this: %v", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.spans = append(c.spans, spans...)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}"))
}

type attribute struct {
	Key   string `json:"key"`
	Value struct {
		String *string `json:"stringValue"`
		Int    *string `json:"intValue"`
		Bool   *bool   `json:"boolValue"`
	} `json:"value"`
}

// request is what opentelemetry-proto calls ExportTraceServiceRequest, as far as it is used.
type request struct {
	ResourceSpans []struct {
		Resource struct {
			Attributes []attribute `json:"attributes"`
		} `json:"resource"`
		ScopeSpans []struct {
			Scope struct {
				Name string `json:"name"`
			} `json:"scope"`
			Spans []struct {
				Trace      string      `json:"traceId"`
				ID         string      `json:"spanId"`
				Parent     string      `json:"parentSpanId"`
				Flags      uint32      `json:"flags"`
				Name       string      `json:"name"`
				Kind       int         `json:"kind"`
				Start      string      `json:"startTimeUnixNano"`
				End        string      `json:"endTimeUnixNano"`
				Attributes []attribute `json:"attributes"`
			} `json:"spans"`
		} `json:"scopeSpans"`
	} `json:"resourceSpans"`
}

func take(r *http.Request) (all []Span, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || kind != "application/json" || err != nil {
		return nil, fmt.Errorf("%s %s with %q: want POST /v1/traces of application/json", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
	}
	var req request
	from := json.NewDecoder(r.Body)
	from.DisallowUnknownFields()
	if err := from.Decode(&req); err != nil {
		return nil, err
	}
	for _, rs := range req.ResourceSpans {
		of, err := attributes(rs.Resource.Attributes)
		if err != nil || of["service.name"] == "" {
			return nil, fmt.Errorf("a resource without a name: %v", err)
		}
		for _, ss := range rs.ScopeSpans {
			for _, o := range ss.Spans {
				s := Span{Service: of["service.name"], Name: o.Name, Trace: o.Trace, ID: o.ID, Parent: o.Parent, Remote: o.Flags&0x200 != 0, Kind: o.Kind}
				if s.Attributes, err = attributes(o.Attributes); err != nil {
					return nil, err
				}
				start, err1 := strconv.ParseUint(o.Start, 10, 63)
				end, err2 := strconv.ParseUint(o.End, 10, 63)
				s.Start, s.End = time.Unix(0, int64(start)), time.Unix(0, int64(end))
				switch {
				case !isID(s.Trace, 16), !isID(s.ID, 8), s.Parent != "" && !isID(s.Parent, 8):
					return nil, fmt.Errorf("an id is none: %q %q %q", s.Trace, s.ID, s.Parent)
				case errors.Join(err1, err2) != nil, end < start:
					return nil, fmt.Errorf("times are none: %q %q", o.Start, o.End)
				case s.Name == "", s.Kind < 1 || s.Kind > 5, o.Flags&0x101 != 0x101:
					return nil, fmt.Errorf("%q of kind %d with flags %x", s.Name, s.Kind, o.Flags)
				}
				all = append(all, s)
			}
		}
	}
	return all, nil
}

func attributes(of []attribute) (map[string]string, error) {
	m := make(map[string]string)
	for _, a := range of {
		switch v := a.Value; {
		case v.String != nil && v.Int == nil && v.Bool == nil:
			m[a.Key] = *v.String
		case v.Int != nil && v.Bool == nil:
			m[a.Key] = *v.Int
		case v.Bool != nil:
			m[a.Key] = strconv.FormatBool(*v.Bool)
		default:
			return nil, fmt.Errorf("the attribute %q has no value", a.Key)
		}
	}
	return m, nil
}

func isID(s string, n int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == n && strings.ToLower(s) == s && slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}
