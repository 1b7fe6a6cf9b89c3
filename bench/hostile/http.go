// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	plainLine = "GET /prices?topics=X HTTP/1.1"
	// smuggled is what nobody may take for a request.
	smuggled = "GET /prices?topics=SMUGGLED HTTP/1.1\r\nHost: edge.example\r\n\r\n"
	// pollsAtOnce is how many long polls of one conn follow each other.
	pollsAtOnce = 400
)

// plain is a good request of plain HTTP with more fields.
func plain(fields ...string) string {
	return head(plainLine, append([]string{hostField}, fields...)...)
}

func httpInputs(p *plan) []input {
	var all inputs
	all.smuggling()
	all.add("200, 400, ended", "SECURITY.md", "a body of a megabyte, a byte per 50 ms", slowBody)
	all.add("200, 431, ended", "SECURITY.md", "field of 9,000 bytes behind a request", web(plain()+plain("X: "+strings.Repeat("x", 9000))))
	all.add("200, 431, ended", "SECURITY.md", "101 fields behind a request", web(plain()+plain(slices.Repeat([]string{"X: y"}, 100)...)))
	all.add("200, 400, ended", "SECURITY.md", "100 KiB that are no HTTP behind a request", web(plain()+strings.Repeat("\x00", 100<<10)))
	all.add("200, ended", "SECURITY.md", "the beginning of a request behind one, and silence", web(plain()+"GET /prices"))
	all.add("each time 200, 429, ended", "SECURITY.md, All limits",
		fmt.Sprintf("%d conns pipeline 20,000 requests for %v, again and again", floodConns, p.floodFor),
		func(r *run) string {
			return r.again(func(i int) string { return r.edge.dial(i, kinds(strings.Repeat(plain(), 20_000))) })
		})
	all.add("each time 400, ended", "SECURITY.md, All limits",
		fmt.Sprintf("%d conns ask for 300 topics at once for %v, again and again", floodConns, p.floodFor),
		func(r *run) string {
			names := strings.Join(list(300, func(i int) string { return fmt.Sprint("a", i) }), ",")
			return r.again(func(i int) string {
				return r.edge.dial(i, kinds(strings.Repeat(head("GET /prices?topics="+names+" HTTP/1.1", hostField), 100)))
			})
		})
	all.add("304, ended", "PROTOCOL.md", "a long poll of a star, to which nothing is new",
		web(head("GET /prices?topics=X&wait=30s HTTP/1.1", hostField, "If-None-Match: *", "Connection: close")))
	all.add("200, closed; 1 × pipelined", "SECURITY.md", fmt.Sprintf("%d requests behind a long poll", pollsAtOnce), pipelinedPolls)
	all.add(fmt.Sprintf("%d × 200, %[1]d × ended; %[1]d × keep_alive", p.idlers), "OPERATIONS.md", fmt.Sprintf("%d conns ask once and stay", p.idlers), idlers)
	all.add(fmt.Sprintf("%d × waits; %[1]d × peer_gone or peer_reset", p.idlers), "SECURITY.md", fmt.Sprintf("%d conns wait for a change, and go", p.idlers), abandonedPolls)
	return all
}

// smuggling is what two readers may take for different requests, behind a request that is good.
func (all *inputs) smuggling() {
	const by = "SECURITY.md; RFC 9112, "
	for _, s := range []struct{ source, name, request string }{
		{"6.1", "Content-Length and Transfer-Encoding", plain("Content-Length: 6", "Transfer-Encoding: chunked") + "0\r\n\r\n"},
		{"6.1", "Transfer-Encoding and Content-Length", plain("Transfer-Encoding: chunked", "Content-Length: 6") + "0\r\n\r\n"},
		{"6.1", "Transfer-Encoding: chunked", plain("Transfer-Encoding: chunked") + "0\r\n\r\n"},
		{"6.1", "Transfer-Encoding: xchunked", plain("Transfer-Encoding: xchunked")},
		{"6.1", "Transfer-Encoding with a tab", plain("Transfer-Encoding:\tchunked") + "0\r\n\r\n"},
		{"6.2", "Content-Length and a request as body", plain(fmt.Sprintf("Content-Length: %d", len(smuggled)))},
		{"6.3", "two Content-Length", plain("Content-Length: 0", fmt.Sprintf("Content-Length: %d", len(smuggled)))},
		{"5.1", "a blank before the colon", plain("Content-Length : 5")},
		{"5.2", "a folded line", plain("X: a\r\n Content-Length: 5")},
		{"2.2", "a bare CR", plain("X: a\rContent-Length: 5")},
		{"2.2", "a bare LF", plain("X: a\nContent-Length: 5")},
		{"2.2", "lines that end with LF", "GET /prices?topics=X HTTP/1.1\nHost: edge.example\n\n"},
		{"3.2", "two Host", plain("Host: other.example")},
		{"3", "a request line with a NUL", head("GET /prices?topics=X\x00 HTTP/1.1", hostField)},
	} {
		all.add("200, 400, ended", by+s.source, "smuggling: "+s.name, web(plain()+s.request+smuggled))
	}
}

// web sends bytes and tells the answers.
func web(b string) func(*run) string {
	return func(r *run) string { return r.edge.dial(0, func(p *peer) string { return p.web([]byte(b)).String() }) }
}

// kinds sends bytes and tells which answers came, in the order of their first.
func kinds(b string) func(*peer) string {
	return func(p *peer) string {
		var all []string
		for _, what := range p.web([]byte(b)).what {
			if !slices.Contains(all, what) {
				all = append(all, what)
			}
		}
		return strings.Join(all, ", ")
	}
}

// web sends bytes while it reads answers, up to the end of the conn.
func (p *peer) web(b []byte) *seen {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = p.Write(b) // If it fails, that is a part of the reaction.
	}()
	var s seen
	for br := bufio.NewReader(p); ; {
		status, err := response(br)
		if err != nil {
			s.add("%s", ending(err))
			break
		}
		s.add("%d", status)
	}
	_ = p.SetWriteDeadline(time.Now())
	<-sent
	return &s
}

// response reads one response.
func response(br *bufio.Reader) (status int, err error) {
	if _, err := br.Peek(1); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(br, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
	}
	if err != nil {
		return 0, err
	}
	return res.StatusCode, nil
}

// again does something from several conns at a time for a while, and says how it ended each time.
func (r *run) again(one func(i int) string) string {
	deadline := time.Now().Add(r.floodFor)
	var all []string
	what := crowd(floodConns, floodConns, func(i int) string {
		ends := map[string]bool{}
		for time.Now().Before(deadline) && r.edge.ctx.Err() == nil {
			ends[one(i)] = true
		}
		var list []string
		for end := range ends {
			list = append(list, end)
		}
		slices.Sort(list)
		return strings.Join(list, " or ")
	})
	for part := range strings.SplitSeq(what, fmt.Sprintf("%d × ", floodConns)) {
		if part != "" {
			all = append(all, part)
		}
	}
	return "each time " + strings.Join(all, "")
}

// slowBody claims a body that comes too slowly to be waited for.
func slowBody(r *run) string {
	return r.edge.dial(0, func(p *peer) string {
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
					_, _ = p.Write([]byte{'x'}) // Also behind the end.
				}
			}
		}()
		what := p.web([]byte(plain() + plain("Content-Length: 1000000"))).String()
		return strings.Replace(what, "reset", "ended", 1) // By a byte behind the end.
	})
}

// quietPoll is a request that waits for news of a topic that has a value and never ticks.
func quietPoll(r *run) (request string, err error) {
	names, err := r.edge.setFresh(1)
	if err != nil {
		return "", err
	}
	path := "/prices/" + names[0]
	p, err := r.edge.connect(0, 0)
	if err != nil {
		return "", err
	}
	defer p.Close()
	if _, err := io.WriteString(p, head("GET "+path+" HTTP/1.1", hostField, "Connection: close")); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(p), nil)
	if err != nil {
		return "", err
	}
	tag := res.Header.Get("ETag")
	if res.StatusCode != http.StatusOK || tag == "" {
		err = fmt.Errorf("%s: %s", path, res.Status)
	}
	return head("GET "+path+"?wait=30s HTTP/1.1", hostField, "If-None-Match: "+tag), errors.Join(err, res.Body.Close())
}

// pipelinedPolls sends far more behind a request that waits than a head may have.
func pipelinedPolls(r *run) string {
	poll, err := quietPoll(r)
	if err != nil {
		return err.Error()
	}
	before := r.edge.closings()
	what := r.edge.dial(0, func(p *peer) string { return p.web([]byte(plain() + strings.Repeat(poll, pollsAtOnce))).String() })
	// What is sent to a conn that is closed is answered with a reset.
	what = strings.NewReplacer("ended", "closed", "reset", "closed").Replace(what)
	return what + "; " + r.edge.closed(before, 1, patience, "pipelined")
}

// ask connects a peer and has it send a request.
func (all peers) ask(r *run, i int, request string) error {
	p, err := r.edge.connect(i, 0)
	if err != nil {
		return err
	}
	all[i] = p
	_, err = io.WriteString(p, request)
	return err
}

// idlers ask for a price and then for nothing.
func idlers(r *run) string {
	before := r.edge.closings()
	all := make(peers, r.plan.idlers)
	what := crowd(len(all), 64, func(i int) string {
		if err := all.ask(r, i, plain()); err != nil {
			return err.Error()
		}
		status, err := response(bufio.NewReader(all[i]))
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(status)
	})
	ends := crowd(len(all), 64, func(i int) string {
		if all[i] == nil {
			return "was not there"
		}
		defer all[i].Close()
		_ = all[i].SetDeadline(time.Now().Add(stuckMax))
		return all[i].end()
	})
	return what + ", " + ends + "; " + r.edge.closed(before, len(all), patience, "keep_alive")
}

// abandonedPolls wait for a change of a topic that never ticks, and are reset.
func abandonedPolls(r *run) string {
	poll, err := quietPoll(r)
	if err != nil {
		return err.Error()
	}
	before := r.edge.closings()
	all := make(peers, r.plan.idlers)
	what := crowd(len(all), 64, func(i int) string {
		if err := all.ask(r, i, poll); err != nil {
			return err.Error()
		}
		return "waits"
	})
	watched := float64(watchers * watchTopics)
	r.edge.until(patience, func() bool {
		v, err := r.edge.level()
		return err == nil && v.subscriptions >= watched+float64(len(all))
	})
	all.reset()
	return what + "; " + r.edge.closed(before, len(all), patience, "peer_gone", "peer_reset")
}
