// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a reply is made of (RESP2).
func bulk(s string) []byte { return []byte("$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n") }

func number(n int) []byte { return []byte(":" + strconv.Itoa(n) + "\r\n") }

func list(elements ...[]byte) []byte {
	return slices.Concat(append([][]byte{[]byte("*" + strconv.Itoa(len(elements)) + "\r\n")}, elements...)...)
}

func bulks(all ...string) []byte {
	elements := make([][]byte, len(all))
	for i, s := range all {
		elements[i] = bulk(s)
	}
	return list(elements...)
}

func status(s string) []byte { return []byte("+" + s + "\r\n") }

func failure(s string) []byte { return []byte("-" + s + "\r\n") }

var (
	nilBulk = []byte("$-1\r\n")
	nilList = []byte("*-1\r\n")
)

// reply is the good reply to a command. The caller holds s.mu, here and below.
func (c *standinConn) reply(args []string) []byte {
	name := strings.ToUpper(args[0])
	switch {
	case name == "MULTI":
		c.multi, c.queue = true, nil
		return status("OK")
	case name == "EXEC" && c.multi:
		c.multi = false
		replies := make([][]byte, len(c.queue))
		for i, queued := range c.queue {
			replies[i] = c.run(queued)
		}
		c.link()
		return list(replies...)
	case c.multi:
		c.queue = append(c.queue, args)
		return status("QUEUED")
	}
	return c.run(args)
}

// run runs one command.
func (c *standinConn) run(args []string) []byte {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch name := strings.ToUpper(args[0]); name {
	case "HELLO":
		return list(bulk("server"), bulk("redis"), bulk("version"), bulk("7.4.0"), bulk("proto"), number(2),
			bulk("id"), number(1), bulk("mode"), bulk("standalone"), bulk("role"), bulk("master"), bulk("modules"), list())
	case "AUTH", "SELECT", "CLIENT", "READONLY":
		return status("OK")
	case "PING":
		switch {
		case len(c.subscribed) > 0:
			return bulks("pong", arg(1))
		case len(args) > 1:
			return bulk(arg(1))
		}
		return status("PONG")
	case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE":
		return c.subscription(strings.ToLower(name), args[1:])
	case "GETRANGE":
		return bulk(c.s.getRange(arg(1), arg(2), arg(3)))
	case "XINFO":
		return c.s.streamInfo()
	case "XREAD":
		return c.streamRead(args)
	case "SENTINEL":
		host, port, _ := net.SplitHostPort(c.s.Addr())
		switch strings.ToUpper(arg(1)) {
		case "MASTER":
			return bulks("name", arg(2), "ip", host, "port", port, "flags", "master", "config-epoch", "3")
		case "GET-MASTER-ADDR-BY-NAME":
			return bulks(host, port)
		}
	case "ROLE":
		return list(bulk("master"), number(3129659), list())
	case "CLUSTER":
		switch strings.ToUpper(arg(1)) {
		case "INFO":
			return bulk(clusterInfo("ok", "6"))
		case "SLOTS":
			return c.s.slotsReply(nil)
		}
	}
	return failure("ERR unknown command '" + args[0] + "'")
}

func clusterInfo(state, epoch string) string {
	return "cluster_enabled:1\r\ncluster_state:" + state + "\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:" + epoch + "\r\n"
}

// slotsReply is CLUSTER SLOTS of a cluster whose only node this is, with more ranges
// behind its own.
func (s *Standin) slotsReply(more [][]byte) []byte {
	host, port, _ := net.SplitHostPort(s.Addr())
	n, _ := strconv.Atoi(port)
	own := list(number(0), number(slots-1), list(bulk(host), number(n), bulk(strings.Repeat("a", 40))))
	return list(append([][]byte{own}, more...)...)
}

// messageKinds are the kinds of messages that a subscription brings.
var messageKinds = map[string]string{"subscribe": "message", "psubscribe": "pmessage", "ssubscribe": "smessage"}

func (c *standinConn) subscription(kind string, names []string) (confirmations []byte) {
	c.link()
	for _, name := range names {
		if messages, subscribes := messageKinds[kind]; subscribes {
			c.subscribed[name] = messages
		} else {
			delete(c.subscribed, name)
		}
		confirmations = append(confirmations, list(bulk(kind), bulk(name), number(len(c.subscribed)))...)
	}
	return confirmations
}

func (s *Standin) getRange(key, from, to string) string {
	value := s.values[key]
	first, _ := strconv.Atoi(from)
	last, _ := strconv.Atoi(to)
	if first < 0 || first >= len(value) || last < first {
		return ""
	}
	return value[first:min(last+1, len(value))]
}

func (s *Standin) streamInfo() []byte {
	n := len(s.stream)
	first, last, lastID := nilBulk, nilBulk, "0-0"
	if n > 0 {
		first, last, lastID = s.stream[0].encoded(), s.stream[n-1].encoded(), s.stream[n-1].id
	}
	return list(bulk("length"), number(n), bulk("radix-tree-keys"), number(1), bulk("radix-tree-nodes"), number(2),
		bulk("last-generated-id"), bulk(lastID), bulk("max-deleted-entry-id"), bulk("0-0"), bulk("entries-added"), number(n),
		bulk("recorded-first-entry-id"), bulk("0-0"), bulk("groups"), number(0), bulk("first-entry"), first, bulk("last-entry"), last)
}

func (e entry) encoded() []byte { return list(bulk(e.id), bulks("topic", e.topic, "value", e.value)) }

// read is XREAD [COUNT n] [BLOCK ms] STREAMS key id.
type read struct {
	count, from int
	block       time.Duration // Negative if it does not wait.
	key         string
}

func parseRead(args []string) read {
	r := read{block: -1}
	for i := 1; i+1 < len(args); i += 2 {
		n, _ := strconv.Atoi(args[i+1])
		switch strings.ToUpper(args[i]) {
		case "COUNT":
			r.count = n
		case "BLOCK":
			r.block = time.Duration(n) * time.Millisecond
		case "STREAMS":
			if r.key = args[i+1]; i+2 < len(args) {
				r.from = behindID(args[i+2])
			}
		}
	}
	return r
}

// behindID is the index of the first entry behind an id.
func behindID(id string) int {
	time, seq, _ := strings.Cut(id, "-")
	ms, _ := strconv.ParseUint(time, 10, 64)
	n, _ := strconv.Atoi(seq)
	switch {
	case ms < streamTime:
		return 0
	case ms > streamTime:
		return math.MaxInt
	}
	return n
}

// entries are those that a read finds.
func (s *Standin) entries(r read) []entry {
	more := s.stream[min(max(r.from, 0), len(s.stream)):]
	if r.count > 0 && len(more) > r.count {
		more = more[:r.count]
	}
	return more
}

func (c *standinConn) streamRead(args []string) []byte {
	r := parseRead(args)
	more := c.s.entries(r)
	if len(more) == 0 {
		return nilList
	}
	entries := make([][]byte, len(more))
	for i, e := range more {
		entries[i] = e.encoded()
	}
	return list(list(bulk(r.key), list(entries...)))
}

// await waits for what a command waits for. It takes s.mu itself.
func (c *standinConn) await(args []string) {
	if c.multi || !strings.EqualFold(args[0], "XREAD") {
		return
	}
	r := parseRead(args)
	timeout := time.NewTimer(r.block)
	defer timeout.Stop()
	for r.block >= 0 {
		c.s.mu.Lock()
		found, added := len(c.s.entries(r)) > 0, c.s.added
		c.s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-added:
		case <-timeout.C:
			return
		}
	}
}
