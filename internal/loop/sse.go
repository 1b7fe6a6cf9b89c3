// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"

	"tickedge/internal/fanout"
	"tickedge/internal/httphead"
	"tickedge/internal/sse"
)

// eventStream opens a stream of server-sent events, which has the topics of its query for as long as
// it is open.
func (l *loop) eventStream(c *conn, req httphead.Request, rest []byte) {
	if l.foreign(c, &req) {
		return
	}
	cors := l.cors(req.Origin)
	switch string(req.Method) {
	case "GET", "HEAD":
	case "OPTIONS":
		l.respond(c, &req, httphead.AppendResponse(l.out[:0], 200, "text/plain", preflight+cors, ""))
		return
	default:
		l.refuse(c, &req, &httphead.Refusal{Status: 405, Reason: "events are read with GET", Header: "Allow: GET, HEAD, OPTIONS\r\n" + cors})
		return
	}
	asked, refusal := l.identify(c, &req)
	if id, has := req.LastEventID(); has { // The browser's own coming back, with the URL of the first time.
		asked.HasResume, asked.Resume, asked.Fresh = true, id, nil
	}
	framing := fanout.Events
	if refusal == nil {
		framing, refusal = l.streamOf(&asked.Query)
	}
	if refusal == nil {
		refusal = l.badScreen(&asked)
	}
	if refusal == nil && len(rest) > 0 {
		refusal = &httphead.Refusal{Status: 400, Reason: "something follows the request, and a stream of events takes nothing"}
	}
	if refusal != nil {
		why := *refusal
		why.Header += cors // Or a page could not read it.
		l.refuse(c, &req, &why)
		return
	}
	if string(req.Method) == "HEAD" {
		l.respond(c, &req, sse.AppendHead(l.out[:0], cors))
		return
	}
	l.opened(c, streaming, Streams, &asked.claims)
	out := sse.AppendHead(l.out[:0], cors)
	out = sse.AppendRetry(out, retryMin+l.rng.IntN(retrySpread))
	out = l.shard.Open(c.id, framing, c.name, asked.Interval, out)
	l.shard.Resumable(c.id)
	out = l.opening(c, &asked.Query, out)
	l.reply(c, out)
	l.out = out[:0]
}

// How long a client waits before it comes back, in milliseconds, whatever has ended its stream:
// an edge that died can't say so any more.
const (
	retryMin    = 1000
	retrySpread = 4000
)

// streamOf says how the events are framed that a query asks for.
func (l *loop) streamOf(o *httphead.Query) (f fanout.Framing, r *httphead.Refusal) {
	limit := l.set.shard.MaxTopics
	switch {
	case len(o.Topics) == 0:
		return f, &httphead.Refusal{Status: 400, Reason: "no topics: want /sse?topics=AAPL,MSFT"}
	case len(o.Topics) > limit:
		return f, &httphead.Refusal{Status: 400, Reason: fmt.Sprintf("more than %d topics in the query", limit)}
	}
	switch string(o.Events) {
	case "", "named":
		return fanout.Events, nil
	case "plain":
		return fanout.PlainEvents, nil
	}
	return f, &httphead.Refusal{Status: 400, Reason: "events is named or plain"}
}

// preflight is what scripts of other pages may do here (Fetch Standard, 3.2.3), beside what any
// may. Browsers ask again after a day at the latest.
const preflight = "Access-Control-Allow-Methods: GET\r\n" +
	"Access-Control-Allow-Headers: Authorization, Cache-Control, Last-Event-ID\r\nAccess-Control-Max-Age: 86400\r\n"

// cors is what lets scripts of an allowed page read the answer, with cookies if it asks so. Those
// mean nothing to the edge, but a proxy before it may want them: so not where all pages are allowed.
func (l *loop) cors(origin []byte) string {
	switch {
	case len(origin) == 0:
		return "Vary: Origin\r\n"
	case l.set.origins.Any():
		return "Access-Control-Allow-Origin: *\r\n"
	}
	return "Vary: Origin\r\nAccess-Control-Allow-Origin: " + string(origin) + "\r\nAccess-Control-Allow-Credentials: true\r\n"
}

// stray ends a stream whose client sends something. A browser never does.
func (l *loop) stray(c *conn) { l.shard.Evict(c.id, fanout.StreamInput) }
