// SPDX-License-Identifier: Apache-2.0

// Package push is the design that most teams take for a job like edge's, written as
// well as we can: ticks are pushed to the clients that want them, and each client
// conflates for itself. bench/yard/gorilla and bench/yard/coder are this package with
// one WebSocket library each, and differ in nothing else.
//
//	router.go   which tick goes to which clients; others call it a hub
//	client.go   a client: two goroutines, a queue of ticks, its newest rows
//	message.go  docs/PROTOCOL.md with encoding/json
//	source.go   ticks from Redis, or made up
//	main.go     flags, the HTTP server
package push

import "sync"

// tick is one value of a topic. It is not changed once it was routed.
type tick struct {
	topic string
	n     uint64 // How many ticks the topic has had, with this one.
	value []byte // JSON.
}

// topic is what the router knows of one name.
type topic struct {
	mu      sync.Mutex
	newest  *tick // nil before the first.
	clients map[*client]struct{}
}

// router passes ticks on. Its methods may be called from any goroutine.
type router struct {
	mu     sync.RWMutex // Of the map, not of what is in it.
	topics map[string]*topic
}

func newRouter() *router { return &router{topics: map[string]*topic{}} }

// topic returns the one with a name, which it makes if there is none.
func (r *router) topic(name string) *topic {
	r.mu.RLock()
	t := r.topics[name]
	r.mu.RUnlock()
	if t != nil {
		return t
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t = r.topics[name]; t == nil {
		t = &topic{clients: map[*client]struct{}{}}
		r.topics[name] = t
	}
	return t
}

// route passes a value on to all clients that want its topic. It takes the value over.
func (r *router) route(name string, value []byte) {
	t := r.topic(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	next := &tick{topic: name, n: 1, value: value}
	if t.newest != nil {
		next.n = t.newest.n + 1
	}
	t.newest = next
	for c := range t.clients {
		c.offer(next)
	}
}

// subscribe adds a client to a topic and returns the topic's newest tick, nil if it
// has had none. All later ticks are offered to the client.
func (r *router) subscribe(name string, c *client) *tick {
	t := r.topic(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clients[c] = struct{}{}
	return t.newest
}

func (r *router) unsubscribe(name string, c *client) {
	t := r.topic(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.clients, c)
}
