package httphead

import (
	"bytes"
	"strconv"
)

// Query is what a client asks for in the query of its request, to spare a round
// trip: ?topics=AAPL,MSFT&interval=500; and the token of a browser, which can set no
// field: ?token=. Unknown parameters are ignored.
type Query struct {
	Topics   [][]byte
	Interval int    // Milliseconds, 0 if it is not there.
	Token    []byte // Nil if it is not there. Never log it.
	Events   []byte // How a stream names its events, unchecked.
}

// ParseQuery parses the query, an application/x-www-form-urlencoded one. validInterval says
// which windows may be asked for. What is returned may point into the request's bytes.
func (req *Request) ParseQuery(validInterval func(ms int) bool) (o Query, r *Refusal) {
	intervals, tokens := 0, 0
	for rest := req.Query; len(rest) > 0; {
		var pair []byte
		pair, rest, _ = bytes.Cut(rest, []byte{'&'})
		key, value, _ := bytes.Cut(pair, []byte{'='})
		key, ok1 := unescape(key)
		value, ok2 := unescape(value)
		if !ok1 || !ok2 || bytes.IndexByte(pair, ';') >= 0 {
			return o, refuse(400, "malformed query")
		}
		switch string(key) {
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
			tokens++
			// RFC 6750, 2: a token comes in one way only.
			if tokens > 1 || len(req.Authorization) > 0 {
				return o, refuse(400, "a token comes once: in Authorization or as ?token=")
			}
			o.Token = value
		}
	}
	return o, nil
}
