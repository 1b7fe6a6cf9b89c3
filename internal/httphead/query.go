// SPDX-License-Identifier: Apache-2.0

package httphead

import (
	"bytes"
	"strconv"
)

// Query is what a client asks for in the query of its request, to spare a round
// trip: ?topics=AAPL,MSFT&interval=500; and its token, if it can set no field: ?token=.
type Query struct {
	Topics   [][]byte
	Interval int    // Milliseconds, 0 if it is not there.
	HasToken bool   // It may be there and empty.
	Token    []byte // Never log it.
	Events   []byte // How a stream names its events, unchecked.

	// Of a screen, unchecked but for Top.
	Screen, Where, By []byte
	HasWhere          bool
	Top               int // 0 if it is not there.

	HasResume bool     // It may be there and empty.
	Resume    []byte   // Up to when the client has rows of the topics, unchecked,
	Fresh     [][]byte // but of these.
}

// ParseQuery parses the query, an application/x-www-form-urlencoded one. validInterval says
// which windows may be asked for. What is returned may point into the request's bytes.
//
// Parameters of others are left alone, however broken they are: links and proxies add such.
func (req *Request) ParseQuery(validInterval func(ms int) bool) (o Query, r *Refusal) {
	intervals := 0
	for rest := req.Query; len(rest) > 0; {
		var pair []byte
		pair, rest, _ = bytes.Cut(rest, []byte{'&'})
		name, raw, _ := bytes.Cut(pair, []byte{'='})
		if name, _ = unescape(name); !isParameter(name) {
			continue
		}
		value, ok := unescape(raw)
		if !ok {
			return o, refuse(400, string(name)+" in the query is malformed: a % stands before two hexadecimal digits, or is written %25")
		}
		if bytes.IndexByte(raw, ';') >= 0 {
			return o, refuse(400, string(name)+" in the query is malformed: parameters are separated by &, and a ; is written %3B")
		}
		switch string(name) {
		case "topics":
			o.Topics = appendList(o.Topics, value)
		case "fresh":
			o.Fresh = appendList(o.Fresh, value)
		case "resume":
			o.HasResume, o.Resume = true, value
		case "interval":
			intervals++
			ms, err := strconv.Atoi(string(value))
			if err != nil || intervals > 1 || !validInterval(ms) {
				return o, refuse(400, "interval is a whole number of milliseconds from 100 to 60000")
			}
			o.Interval = ms
		case "events":
			o.Events = value
		case "screen":
			o.Screen = value
		case "where":
			o.HasWhere, o.Where = true, value
		case "by":
			o.By = value
		case "top":
			top, err := strconv.Atoi(string(value))
			if err != nil || top < 1 {
				return o, refuse(400, "top is a whole number from 1")
			}
			o.Top = top
		case "token":
			if o.HasToken {
				return o, refuse(400, OneToken)
			}
			o.HasToken, o.Token = true, value
		}
	}
	return o, nil
}

// appendList appends the elements of a list with commas between, but for empty ones.
func appendList(dst [][]byte, list []byte) [][]byte {
	for more := true; more; {
		var element []byte
		if element, list, more = bytes.Cut(list, comma); len(element) > 0 {
			dst = append(dst, element)
		}
	}
	return dst
}

// LastEventID is what a browser sends that comes back to a stream of events, if it does (HTML
// Standard, 9.2.4).
func (req *Request) LastEventID() (id []byte, has bool) {
	req.field("last-event-id", func(value []byte) bool {
		id, has = value, true
		return false
	})
	return id, has
}

// OneToken refuses a request with more than one token (RFC 6750, 2).
const OneToken = "a token comes once: in Authorization, as the sub-protocol bearer.…, or as ?token="

// isParameter reports whether a parameter of this name is the edge's.
func isParameter(name []byte) bool {
	switch string(name) {
	case "topics", "interval", "token", "events", "resume", "fresh", "screen", "where", "by", "top":
		return true
	}
	return false
}
