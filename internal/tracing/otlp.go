// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"encoding/json"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// What follows is ExportTraceServiceRequest of opentelemetry-proto as JSON: ids in hex, 64-bit numbers as text. The
// library's own exporter links gRPC for the generated code of its messages, and is no part of marketdata for that.
type (
	otlpRequest struct {
		ResourceSpans []otlpResourceSpans `json:"resourceSpans"`
	}
	otlpResourceSpans struct {
		Resource   otlpResource     `json:"resource"`
		ScopeSpans []otlpScopeSpans `json:"scopeSpans"`
	}
	otlpResource struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpScopeSpans struct {
		Scope otlpScope  `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpScope struct {
		Name string `json:"name"`
	}
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		Parent     string          `json:"parentSpanId,omitempty"`
		Flags      uint32          `json:"flags"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes,omitempty"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String *string `json:"stringValue,omitempty"`
		Int    *string `json:"intValue,omitempty"`
		Bool   *bool   `json:"boolValue,omitempty"`
	}
)

// Flags of a span that say whether its parent is one of another process.
const (
	flagRemoteKnown = 0x100
	flagRemote      = 0x200
)

// encode makes the body of a request. All spans are of one resource.
func encode(spans []sdktrace.ReadOnlySpan) []byte {
	var out []otlpSpan
	for _, s := range spans {
		c, flags := s.SpanContext(), uint32(s.SpanContext().TraceFlags())|flagRemoteKnown
		o := otlpSpan{
			TraceID: c.TraceID().String(), SpanID: c.SpanID().String(), Name: s.Name(), Kind: int(s.SpanKind()),
			Start: nanos(s.StartTime().UnixNano()), End: nanos(s.EndTime().UnixNano()), Attributes: encodeAll(s.Attributes()),
		}
		if p := s.Parent(); p.HasSpanID() {
			o.Parent = p.SpanID().String()
			if p.IsRemote() {
				flags |= flagRemote
			}
		}
		o.Flags = flags
		out = append(out, o)
	}
	of := otlpResource{Attributes: encodeAll(spans[0].Resource().Attributes())}
	body, err := json.Marshal(otlpRequest{[]otlpResourceSpans{{of, []otlpScopeSpans{{otlpScope{scope}, out}}}}})
	if err != nil {
		panic(err) // There is nothing in it that can't be JSON.
	}
	return body
}

func nanos(n int64) string { return strconv.FormatInt(n, 10) }

func encodeAll(attrs []attribute.KeyValue) (out []otlpAttribute) {
	for _, a := range attrs {
		var v otlpValue
		switch a.Value.Type() {
		case attribute.BOOL:
			is := a.Value.AsBool()
			v.Bool = &is
		case attribute.INT64:
			n := nanos(a.Value.AsInt64())
			v.Int = &n
		default:
			text := a.Value.String()
			v.String = &text
		}
		out = append(out, otlpAttribute{string(a.Key), v})
	}
	return out
}
