// SPDX-License-Identifier: Apache-2.0

package loop

import "tickedge/internal/httphead"

// Platforms that know one port of a program ask on it whether it is well. They send GET, HEAD
// or OPTIONS, some of them by HTTP/1.0 and without a Host, and are no client: they need no
// Origin and no token, and their 503 is no refusal. The limits of connections hold for them.

var (
	healthy   = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n")
	unhealthy = []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n")

	unhealthyMethod = &httphead.Refusal{Status: 405, Reason: "health is asked for with GET, HEAD or OPTIONS", Header: "Allow: GET, HEAD, OPTIONS\r\n"}
)

func (l *loop) isHealthCheck(req *httphead.Request) bool {
	path := l.server.cfg.HealthPath
	return path != "" && string(httphead.CleanPath(req.Path)) == path
}

// health answers whether clients should be sent here. Why not is for operators alone.
func (l *loop) health(c *conn, req *httphead.Request) {
	switch string(req.Method) {
	case "GET", "HEAD", "OPTIONS":
	default:
		l.refuse(c, req, unhealthyMethod)
		return
	}
	l.counts.Loop[HealthChecks]++
	if l.server.cfg.Ready.Load() && !l.shutting.shut {
		l.closeWith(c, causeHTTP, healthy)
	} else {
		l.closeWith(c, causeHTTP, unhealthy)
	}
}
