// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"
)

// turned is a reason to turn clients away that an operator may want to know of: with another
// flag they would have been let in. All else that clients are refused for is counted only.
type turned uint8

const (
	byOrigin turned = iota
	byProxyHeader
	byHead
	byMax
	byConnsPerPrefix
	byRatePerPrefix
	byRate
	bySessions
	byBacklog
	byNewTopics

	turnedKinds // One more than the last.
)

// turnedTable says how each is told. what names the example that a line has, count what there
// were n of.
var turnedTable = [turnedKinds]struct{ line, what, count, hint string }{
	byOrigin: {"web pages were refused, as they may not connect here", "origin", "requests",
		"if the page is yours, add this origin to -origin (docs/OPERATIONS.md, Who may connect)"},
	byProxyHeader: {"connections were closed, as they did not begin with a PROXY header", "remote", "connections",
		"have the proxy send one (send-proxy-v2 in HAProxy), or leave -proxy-protocol out if clients connect without a proxy"},
	byHead: {"requests were refused, as their head is too long", "client", "requests",
		"if these are your clients, they send many cookies or a long token: raise -max-head, or serve the edge from a host without such cookies"},
	byMax: {"connections were refused, as there are as many as the edge may hold", "client", "connections",
		"raise -max-conns or the limit of open files (edge doctor says how many this host can hold), or start another edge"},
	byConnsPerPrefix: {"connections were refused, as their address has as many as it may", "client", "connections",
		"raise -max-conns-per-ip if many clients share an address; behind a proxy see -trust-proxy and -proxy-protocol"},
	byRatePerPrefix: {"connections were refused, as too many came from their address at once", "client", "connections",
		"raise -conn-rate-per-ip or -conn-burst-per-ip if many clients share an address; behind a proxy see -trust-proxy and -proxy-protocol"},
	byRate: {"connections were refused, as too many came at once", "client", "connections",
		"they are told when to come back; raise -conn-rate or -conn-burst if this host can take more"},
	bySessions: {"connections were closed, as their user has opened newer ones", "user", "connections",
		"raise -max-sessions-per-user if users have so many devices or pages"},
	byBacklog: {"clients were cut off, as all together have not taken more than the edge may hold", "limit", "clients",
		"raise -max-backlog-total if there is memory; else clients, or the way to them, are too slow"},
	byNewTopics: {"topics that are new to the edge were refused, as too many came from one address", "", "topics",
		"if many clients share an address set -topics, or raise -new-topics-rate-per-ip; behind a proxy see -trust-proxy; else somebody makes up names"},
}

// example is one of those that were turned away.
type example struct {
	what any
	more []any // Attributes beside it.
}

// turnedAway counts those that a loop has turned away since it last told the server.
type turnedAway [turnedKinds]struct {
	n uint64
	example
}

// add counts one, and returns where its example is to be put, if none is there.
func (t *turnedAway) add(k turned) *example {
	of := &t[k]
	if of.n++; of.n > 1 {
		return nil
	}
	return &of.example
}

// client counts one of which the address is the example.
func (t *turnedAway) client(k turned, addr netip.Addr, more ...any) {
	if x := t.add(k); x != nil {
		x.what, x.more = addr.String(), more
	}
}

// turnedEvery is the time between two lines of a kind.
const turnedEvery = 10 * time.Second

// turnedLog says what all loops have turned away: the first of a kind at once, and then what
// there was of it in turnedEvery, so that clients can't fill the log, and all are counted. Its
// methods may be called from any goroutine.
type turnedLog struct {
	log *slog.Logger

	sync.Mutex
	of    turnedAway
	next  [turnedKinds]*time.Timer // Until when a kind waits; nil if it does not.
	ended bool
}

// add takes what a loop has counted.
func (t *turnedLog) add(from *turnedAway) {
	t.Lock()
	defer t.Unlock()
	for k := range turnedKinds {
		if from[k].n == 0 {
			continue
		}
		if t.of[k].n == 0 {
			t.of[k].example = from[k].example
		}
		t.of[k].n += from[k].n
		if t.next[k] == nil {
			t.tell(k)
		}
	}
}

// tell logs what there is of a kind, and has what comes next wait. The lock is held.
func (t *turnedLog) tell(k turned) {
	of, how := &t.of[k], &turnedTable[k]
	if of.n == 0 {
		t.next[k] = nil
		return
	}
	attrs := []any{how.count, of.n}
	if of.what != nil {
		attrs = append(attrs, how.what, of.what)
	}
	attrs = append(append(attrs, of.more...), "hint", how.hint)
	t.log.Warn(how.line, attrs...)
	t.of[k].n, of.example = 0, example{}
	if t.ended {
		return
	}
	t.next[k] = time.AfterFunc(turnedEvery, func() {
		t.Lock()
		defer t.Unlock()
		if !t.ended {
			t.tell(k)
		}
	})
}

// end tells what is left. What comes after that is told at once.
func (t *turnedLog) end() {
	t.Lock()
	defer t.Unlock()
	t.ended = true
	for k, timer := range t.next {
		if timer != nil {
			timer.Stop()
			t.tell(turned(k))
			t.next[k] = nil
		}
	}
}

// shownMax bounds what the log shows of a client's own words.
const shownMax = 200

// shown is what the log shows of a client's own words: no more than the beginning, and nothing that
// a terminal could take for a command.
func shown[T string | []byte](words T) string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(words[:min(len(words), shownMax)]), "?"))
	if len(words) > shownMax {
		text += "…"
	}
	return text
}

// shownHost is what the log shows of an Origin or a Host. Nobody's belongs in front of an at sign,
// and if somebody's does, it may be a password.
func shownHost(host []byte) string {
	if at := bytes.LastIndexByte(host, '@'); at >= 0 {
		return "…" + shown(host[at:])
	}
	return shown(host)
}
