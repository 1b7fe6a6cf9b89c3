// SPDX-License-Identifier: Apache-2.0

package httphead

import (
	"bytes"
	"strconv"
)

// Refusal is an answer that says why a request is refused, and ends its connection.
type Refusal struct {
	Status int
	Reason string // The body: one line that says what is wrong.
	Header string // More header lines, each with its CRLF.
}

func refuse(status int, reason string) *Refusal { return &Refusal{Status: status, Reason: reason} }

// Append appends the refusal as an HTTP/1.1 response (RFC 9112, 4).
func (r *Refusal) Append(dst []byte) []byte {
	return AppendResponse(dst, r.Status, "text/plain; charset=utf-8", r.Header, r.Reason+"\n")
}

var statusText = map[int]string{
	200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 426: "Upgrade Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 503: "Service Unavailable",
	505: "HTTP Version Not Supported",
}

// AppendResponse appends a whole HTTP/1.1 response after which the connection is
// closed. header holds more header lines, each with its CRLF.
func AppendResponse(dst []byte, status int, contentType, header, body string) []byte {
	dst = appendHead(dst, status, contentType)
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, header...)
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

// AppendStream appends the head of a response of status 200 whose body ends with the connection
// (RFC 9112, 6.3).
func AppendStream(dst []byte, contentType, header string) []byte {
	dst = appendHead(dst, 200, contentType)
	dst = append(dst, header...)
	return append(dst, "\r\n"...)
}

// appendHead appends the lines that all responses have.
func appendHead(dst []byte, status int, contentType string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, statusText[status]...)
	dst = append(dst, "\r\nContent-Type: "...)
	dst = append(dst, contentType...)
	return append(dst, "\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"...)
}

// WithoutBody cuts a whole response behind its head, as HEAD wants it (RFC 9110, 9.3.2).
func WithoutBody(response []byte) []byte {
	if i := bytes.Index(response, headEnd); i >= 0 {
		return response[:i+len(headEnd)]
	}
	return response
}
