// SPDX-License-Identifier: Apache-2.0

// Command gorilla is package push on gorilla/websocket.
package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"tickedge/bench/yard/internal/push"
)

// upgrader is set up for many conns: a write buffer is only held during a write.
// Gorilla's own would be held for life, 4 KiB for each conn.
var upgrader = websocket.Upgrader{
	ReadBufferSize:  1024,
	WriteBufferSize: 4096,
	WriteBufferPool: &sync.Pool{},
	CheckOrigin:     func(*http.Request) bool { return true },
}

type socket struct{ *websocket.Conn }

func accept(w http.ResponseWriter, r *http.Request) (push.Socket, error) {
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(push.MessageMax)
	return socket{c}, nil
}

func (s socket) Read() ([]byte, error) {
	_, message, err := s.ReadMessage()
	return message, err
}

func (s socket) Write(text []byte, timeout time.Duration) error {
	if err := s.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	return s.WriteMessage(websocket.TextMessage, text)
}

func (s socket) Close() { _ = s.Conn.Close() }

func main() { push.Main("gorilla", accept) }
