// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"encoding/hex"
	"errors"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// parentLen is the length of a traceparent: version, trace, span and flags in hex, with dashes between. More is not looked at.
const parentLen = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

var errParent = errors.New("it is no traceparent of W3C Trace Context, version 00")

// parseParent reads a traceparent, to the letter: small digits, and no ids of zeros.
func parseParent(s string) (p trace.SpanContext, err error) {
	if len(s) != parentLen || s[:3] != "00-" || s[35] != '-' || s[52] != '-' || strings.ToLower(s) != s {
		return p, errParent
	}
	var c trace.SpanContextConfig
	var flags [1]byte
	_, err1 := hex.Decode(c.TraceID[:], []byte(s[3:35]))
	_, err2 := hex.Decode(c.SpanID[:], []byte(s[36:52]))
	_, err3 := hex.Decode(flags[:], []byte(s[53:]))
	c.TraceFlags, c.Remote = trace.TraceFlags(flags[0]), true
	if p = trace.NewSpanContext(c); errors.Join(err1, err2, err3) != nil || !p.IsValid() {
		return trace.SpanContext{}, errParent
	}
	return p, nil
}

// formatParent is the traceparent of what follows a span.
func formatParent(s trace.Span) string {
	c := s.SpanContext()
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-01"
}
