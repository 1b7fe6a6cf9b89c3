// SPDX-License-Identifier: Apache-2.0

// Command coder is package push on coder/websocket.
package main

import (
	"context"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"tickedge/bench/yard/internal/push"
)

type socket struct{ *websocket.Conn }

func accept(w http.ResponseWriter, r *http.Request) (push.Socket, error) {
	// Compression is off unless asked for.
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(push.MessageMax)
	return socket{c}, nil
}

func (s socket) Read() ([]byte, error) {
	_, message, err := s.Conn.Read(context.Background())
	return message, err
}

func (s socket) Write(text []byte, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.Conn.Write(ctx, websocket.MessageText, text)
}

func (s socket) Close() { _ = s.CloseNow() }

func main() { push.Main("coder", accept) }
