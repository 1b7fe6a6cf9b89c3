// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"strconv"
	"sync"
	"time"
)

// pings are those of one link that have no pong yet. Redis answers them in the order in
// which they were written, each behind the messages that were published before. The
// writer adds and bounds them, the receiver takes them out.
type pings struct {
	mu        sync.Mutex
	last      uint64 // The newest token.
	open      []ping // Oldest first.
	roundTrip time.Duration
	heard     time.Time // When the newest ping was sent that was answered; zero for none.
}

type ping struct {
	token  uint64
	sent   time.Time
	batch  []repair // Values that are let into the table when the pong comes.
	behind uint64   // So many commands were written before it, over the same link.
}

// add notes a ping that is about to be written behind so many commands, and returns its token.
func (p *pings) add(now time.Time, batch []repair, behind uint64) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.open = append(p.open, ping{p.last, now, batch, behind})
	return strconv.FormatUint(p.last, 10)
}

// errPong is the error of a link with a pong that is not that of its oldest open ping.
var errPong = errors.New("a pong came that is not that of the oldest ping: one was lost or changed on the way")

// answered takes out the oldest ping, whose pong came, and returns its batch. Any other pong
// is an error. Were it passed over, no batch behind it would ever be let into the table.
func (p *pings) answered(now time.Time, token string) ([]repair, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) == 0 || strconv.FormatUint(p.open[0].token, 10) != token {
		return nil, errPong
	}
	first := p.open[0]
	p.open[0] = ping{} // Its batch must not outlive it here.
	p.open = p.open[1:]
	p.roundTrip, p.heard = now.Sub(first.sent), first.sent
	return first.batch, nil
}

// oldest is the token of the oldest ping that is open, if there is one.
func (p *pings) oldest() (token uint64, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) == 0 {
		return 0, false
	}
	return p.open[0].token, true
}

// due reports whether the next answer is that to a ping, if so many commands were answered.
func (p *pings) due(commands uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open) > 0 && p.open[0].behind <= commands
}

// lag is how far the receiver is behind: the age of the oldest ping without a pong, or
// what the last one took.
func (p *pings) lag(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) > 0 {
		return max(p.roundTrip, now.Sub(p.open[0].sent))
	}
	return p.roundTrip
}

// upTo is a time before which all was published that was received.
func (p *pings) upTo() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

func (p *pings) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}
