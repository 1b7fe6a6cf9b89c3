// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

const (
	abandonedAll    = 5000
	abandonedAtOnce = 250
	abandonedTopics = 50
)

// Who leaves a stream of events, or an answer that is awaited, leaves nothing behind: neither in the edge nor, in the
// end, in Redis.
func TestAbandonedStreamsAndWaits(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	e := start(t, "-redis", redis.URL(), "-interval", "100ms", "-max-conns", "4096")
	tags := make([]string, abandonedTopics)
	for i := range tags {
		redis.Do("SET", fmt.Sprint("price:T", i), "1")
		res, err := http.Get(fmt.Sprint("http://", e.addr, "/prices/T", i))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if tags[i] = res.Header.Get("ETag"); res.StatusCode != http.StatusOK || tags[i] == "" {
			t.Fatalf("%s, ETag %q", res.Status, tags[i])
		}
	}
	http.DefaultClient.CloseIdleConnections()
	number := func(name string) int {
		t.Helper()
		n, err := strconv.ParseFloat(e.metric(name), 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	idle := func(what string) {
		t.Helper()
		redistest.Eventually(t, what, func() bool {
			for _, state := range []string{"handshake", "open", "http", "closing"} {
				if number(fmt.Sprintf(`edge_connections{state=%q}`, state)) > 0 {
					return false
				}
			}
			return number("edge_subscriptions") == 0
		})
	}
	idle("nobody is there yet")
	goroutines, files := number("go_goroutines"), number("process_open_fds")

	places := make(chan struct{}, abandonedAtOnce)
	var all sync.WaitGroup
	for i := range abandonedAll {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if err := abandon(e.addr, i, tags[i%abandonedTopics]); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	redistest.Eventually(t, "all streams are counted", func() bool {
		return number(`edge_connections_opened_total{transport="sse"}`) == abandonedAll/2
	})
	idle("all are gone")
	redistest.Eventually(t, "goroutines and descriptors are as many as before", func() bool {
		return number("go_goroutines") <= goroutines && number("process_open_fds") <= files
	})
	redistest.Eventually(t, "topics are let go", func() bool { return number("edge_topics") == 0 && number("edge_feed_channels") == 0 })
}

// abandon opens a stream of events, or has a wait begin, and goes without a word, or with a reset.
func abandon(addr string, i int, tag string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	stream := i%2 == 0
	if stream {
		fmt.Fprintf(conn, "GET /sse?topics=T%d HTTP/1.1\r\nHost: x\r\n\r\n", i%abandonedTopics)
	} else {
		// The first of two is answered, so the edge has read the second when that is.
		first := fmt.Sprintf("GET /prices/T%d HTTP/1.1\r\nHost: x\r\n\r\n", i%abandonedTopics)
		fmt.Fprintf(conn, "%sGET /prices/T%d?wait=30s HTTP/1.1\r\nHost: x\r\nIf-None-Match: %s\r\n\r\n", first, i%abandonedTopics, tag)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("connection %d: %s", i, res.Status)
	}
	if i%3 == 0 {
		return conn.(*net.TCPConn).SetLinger(0)
	}
	return nil
}
