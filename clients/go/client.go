// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Options are what a client may be told. The zero value is good.
type Options struct {
	// Token returns the token to connect with, a JWT. It is called before a connection, when there is no token yet or the last
	// one ends or was refused, and again before exp, so that the connection outlives the token. It may block for 30 seconds at
	// most, until ctx ends. An error is taken for a passing one: the client goes on with what it has, and asks again later.
	Token func(ctx context.Context) (string, error)

	// Interval is the window: the least time between two updates of a topic, 100 ms to 60 s. 0 is the edge's own.
	Interval time.Duration

	// HandshakeTimeout bounds each attempt to connect, from the name's look-up to the edge's hello. 0 is 10 s.
	HandshakeTimeout time.Duration

	// MinBackoff and MaxBackoff bound the pauses between attempts: each is a random part of a time that doubles from the
	// first to the second. 0 is 1 s and 30 s. Where the edge says when to come back, that holds. What an edge refuses for now is asked
	// for again after 3 to 6 times MinBackoff.
	MinBackoff, MaxBackoff time.Duration

	// Header has more fields of the request, such as User-Agent. Those of the handshake are the client's.
	Header http.Header

	// HTTPClient dials, for proxies and certificates. nil is one with the defaults of net/http that keeps no idle connections.
	HTTPClient *http.Client

	// NoResume asks for all values anew after each reconnect, and not only for those that have changed.
	NoResume bool
}

func (o Options) withDefaults() Options {
	or := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	or(&o.HandshakeTimeout, 10*time.Second)
	or(&o.MinBackoff, time.Second)
	or(&o.MaxBackoff, 30*time.Second)
	o.MaxBackoff = max(o.MaxBackoff, o.MinBackoff)
	o.Header = o.Header.Clone()
	if o.HTTPClient == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
		if def, ok := http.DefaultTransport.(*http.Transport); ok {
			transport = def.Clone()
		}
		transport.DisableKeepAlives = true
		transport.MaxResponseHeaderBytes = 64 << 10
		o.HTTPClient = &http.Client{Transport: transport}
	}
	return o
}

// Client is one connection to an edge, kept open, and what was asked for on it. [New] makes one.
type Client struct {
	url     string // With the query of the handshake.
	problem error  // What is wrong with the URL or the options.
	options Options
	ctx     context.Context // Until Close.
	cancel  context.CancelFunc
	wake    chan struct{} // Holds one: something is to be done on the connection.
	done    chan struct{} // Closed when the goroutine of the client has ended; nil before it is started.

	mu      sync.Mutex
	err     error // Why no subscription gets anything any more.
	topics  map[string]*topic
	seq     uint64              // Of the newest topic.
	leaving map[string]struct{} // Topics of this connection that nobody wants any more.
	feeds   []feed              // Those that the edge has told of on this connection.
	up      bool                // A hello was heard, and the connection has not ended.
	conn    uint64              // Number of the connection, from 1.
	lost    verdict             // Why there is no connection, if up is false and there was an attempt.
	changed uint64              // Rises whenever a topic comes.
	token   token
	resume  string // The newest token of resumption; covered of a topic says whether it holds for that.
	from    uint64 // The connection that has brought it.

	screens   map[string]*Screen // By their names on the connection.
	screenSeq uint64             // Of the newest name.
	left      []string           // Screens of this connection that nobody wants any more.
}

// New returns a client of the edge at a URL such as wss://example.com/ws; http and https do as well, and an empty path is
// /ws. It connects when something is subscribed. [Client.Close] ends it.
func New(address string, options Options) *Client {
	c := &Client{
		options: options.withDefaults(),
		wake:    make(chan struct{}, 1),
		topics:  make(map[string]*topic),
		leaving: make(map[string]struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.url, c.problem = endpoint(address, c.options)
	return c
}

// endpoint checks the URL and the window, and adds the query to the one. Its errors show no query, which may have a token.
func endpoint(address string, o Options) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("tickedge: this is no URL of an edge; want one such as wss://example.com/ws")
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return "", fmt.Errorf("tickedge: the URL begins with %q; want ws:// or wss://", u.Scheme)
	}
	if u.Host == "" {
		return "", errors.New("tickedge: the URL has no host; want one such as wss://example.com/ws")
	}
	if o.Interval != 0 && (o.Interval < 100*time.Millisecond || o.Interval > time.Minute) {
		return "", fmt.Errorf("tickedge: an interval of %v; want 100ms to 60s", o.Interval)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/ws"
	}
	u.Fragment = ""
	add := func(query string) {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += query
	}
	if o.Interval > 0 {
		add(fmt.Sprintf("interval=%d", o.Interval.Milliseconds()))
	}
	if !o.NoResume {
		add("resume=")
	}
	return u.String(), nil
}

// Subscribe asks for topics until ctx ends or the subscription is closed, and returns at once. Names that an edge does not
// take, or refuses, do not hold up the others: they come as updates with the state [Rejected]. The error is [ErrClosed], what
// ended the client (a [*ConnError]), what is wrong with the URL, the window or ctx, or that there are no topics.
func (c *Client) Subscribe(ctx context.Context, topics ...string) (*Subscription, error) {
	switch {
	case c.problem != nil:
		return nil, c.problem
	case len(topics) == 0:
		return nil, errors.New("tickedge: no topics to subscribe")
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	s := &Subscription{client: c, slots: make(map[string]*slot, len(topics)), notify: make(chan struct{}, 1)}
	for _, name := range topics {
		if s.slots[name] != nil {
			continue
		}
		t := c.topics[name]
		if t == nil {
			c.seq++
			t = &topic{name: name, seq: c.seq, subs: make(map[*Subscription]*slot)}
			switch {
			case !plausible(name):
				t.refuse(422, "not a topic name: 1 to 64 bytes of UTF-8", time.Time{}, false)
			case strings.Contains(name, "*"): // Its rows would come under other names.
				t.refuse(422, "a pattern, which screens take: Client.Screen, tickedge screen", time.Time{}, false)
			}
			t.told = c.state(t)
			c.topics[name] = t
			c.changed++
		}
		l := &slot{topic: t, fresh: t.value != nil, told: standing{state: Waiting}}
		s.slots[name], t.subs[s] = l, l
		s.put(l)
	}
	s.stop = context.AfterFunc(ctx, func() { s.end(context.Cause(ctx)) })
	c.start()
	return s, nil
}

// start has the goroutine of the client run, and look at what is wanted. The mutex is held.
func (c *Client) start() {
	if c.done == nil {
		c.done = make(chan struct{})
		go c.run()
	}
	c.poke()
}

// Close ends all subscriptions and the connection, and waits until nothing of the client runs any more: a second at most for
// the edge's last word, and as long as Token takes to return. Closing twice is no error.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	c.cancel()
	c.mu.Lock()
	done := c.done
	c.mu.Unlock()
	if done != nil {
		<-done
	}
	return nil
}

// fail ends all subscriptions, and everything that comes later. The first error stays.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	for _, t := range c.topics {
		for s := range t.subs {
			s.finish(err)
		}
	}
	clear(c.topics)
	for _, s := range c.screens {
		s.finish(err)
	}
	clear(c.screens)
}

// poke has the goroutine of the client look at what is wanted. It never blocks.
func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
