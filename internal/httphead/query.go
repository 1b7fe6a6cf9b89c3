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
			for more := true; more; {
				var topic []byte
				if topic, value, more = bytes.Cut(value, comma); len(topic) > 0 {
					o.Topics = append(o.Topics, topic)
				}
			}
		case "interval":
			intervals++
			ms, err := strconv.Atoi(string(value))
			if err != nil || intervals > 1 || !validInterval(ms) {
				return o, refuse(400, "interval is a whole number of milliseconds from 100 to 60000")
			}
			o.Interval = ms
		case "events":
			o.Events = value
		case "token":
			if o.HasToken {
				return o, refuse(400, OneToken)
			}
			o.HasToken, o.Token = true, value
		}
	}
	return o, nil
}

// OneToken refuses a request with more than one token (RFC 6750, 2).
const OneToken = "a token comes once: in Authorization, as the sub-protocol bearer.…, or as ?token="

// isParameter reports whether a parameter of this name is the edge's.
func isParameter(name []byte) bool {
	switch string(name) {
	case "topics", "interval", "token", "events":
		return true
	}
	return false
}
