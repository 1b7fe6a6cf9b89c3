// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// memoryTarget publishes into the memory of edges by their back offices. It is not done before all of them have a tick,
// and gives one that starts all that it has published, as publishers have to whose broker forgets.
type memoryTarget struct {
	t      *testing.T
	client *http.Client

	mu     sync.Mutex
	values map[int]string
	relays []*relay // The ways to the edges.
}

// memoryRig prepares edges that are their own brokers, to which something is done.
func memoryRig(strike func(*memoryTarget, *faultRun)) func(t *testing.T) (*upstream, func(*faultRun)) {
	return func(t *testing.T) (*upstream, func(*faultRun)) {
		m := &memoryTarget{t: t, values: make(map[int]string), client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}}
		t.Cleanup(m.client.CloseIdleConnections)
		up := &upstream{target: m, url: "memory", flags: append(withAPI(t), "-drain", "100ms"), joined: m.join}
		return up, func(r *faultRun) { strike(m, r) }
	}
}

// join gives an edge that has started the newest values.
func (m *memoryTarget) join(i int, e *edge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := newRelay(m.t, e.apiAddr())
	if i == len(m.relays) {
		m.relays = append(m.relays, to)
	} else {
		m.relays[i] = to
	}
	if err := m.publish(context.Background(), to, m.values); err != nil {
		m.t.Error(err)
	}
}

func (m *memoryTarget) write(ctx context.Context, topics []int, values []string, _ [][]any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ticks := make(map[int]string)
	for i, topic := range topics {
		m.values[topic], ticks[topic] = values[i], values[i]
	}
	for _, to := range m.relays {
		if err := m.publish(ctx, to, ticks); err != nil {
			return err
		}
	}
	return nil
}

// publish publishes values to one edge, numbered as they are.
func (m *memoryTarget) publish(ctx context.Context, to *relay, values map[int]string) error {
	var body bytes.Buffer
	for topic, value := range values {
		seq, err := seqIn([]byte(value))
		if err != nil {
			return err
		}
		fmt.Fprintf(&body, `{"topic":%q,"value":%s,"ver":%d}`+"\n", topicName(topic), value, seq)
	}
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+to.addr()+"/publish", &body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/x-ndjson")
	res, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(answer)), "\n")
	if res.StatusCode != 200 || len(values) > 0 && len(lines) != len(values) {
		return fmt.Errorf("%d, %d lines for %d values", res.StatusCode, len(lines), len(values))
	}
	for _, line := range lines {
		var said struct{ Result string }
		// What was written by an attempt that was not answered is outdated.
		if _ = json.Unmarshal([]byte(line), &said); len(values) > 0 && said.Result != "taken" && said.Result != "outdated" && said.Result != "superseded" {
			return fmt.Errorf("%s", line)
		}
	}
	return nil
}

func (m *memoryTarget) stored(context.Context, int) (seq uint64, held bool, err error) {
	return 0, false, nil
}

func (m *memoryTarget) ways() []*relay {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*relay(nil), m.relays...)
}

// memoryCells are those of edges that are their own brokers: the feed is never down, and only publishers can be away.
func memoryCells() map[harm]fault {
	const inside = "it is inside of the edge's process, and there is no connection to it"
	undisturbed := func(strike func(*memoryTarget, *faultRun)) fault {
		return fault{told: nothing, gaps: anyGaps, prepare: memoryRig(strike)}
	}
	return map[harm]fault{
		restartedKept:     no("it keeps nothing"),
		restartedEmpty:    undisturbed(edgesRestarted),
		connectionsKilled: undisturbed(publisherCut),
		tooSlow:           no("its readers are in the process, and hold up nobody: internal/broker/memory has it"),
		frozen:            no(inside + ": it is frozen with its edge"),
		packetsLost:       undisturbed(publisherAway),
		topicForbidden:    no("it knows no users"),
		passwordChanged:   no("it knows no users"),
		streamEmptied:     no(noStream),
		streamAnew:        no(noStream),
		primaryKilled:     no(inside),
		primaryFrozen:     no(inside),
		handedOver:        no(inside),
		dataMoved:         no(inside),
		replicaBehind:     no(inside),
	}
}

// publisherCut ends the publishers' connections in the middle of what they write.
func publisherCut(m *memoryTarget, r *faultRun) {
	for range 5 {
		for _, way := range m.ways() {
			way.cut()
			way.admit()
		}
		r.tick(quiet())
	}
}

// publisherAway has nothing pass from publishers for some time.
func publisherAway(m *memoryTarget, r *faultRun) {
	for _, way := range m.ways() {
		way.drop()
	}
	go func() {
		time.Sleep(3 * time.Second)
		for _, way := range m.ways() {
			way.heal()
		}
	}()
	r.tick(quiet())
}

// edgesRestarted ends the edges and their memory with them. Clients come back, and publishers publish anew.
func edgesRestarted(_ *memoryTarget, r *faultRun) {
	for _, e := range r.edges {
		if code := e.stop(); code != 0 {
			r.t.Errorf("an edge ends with code %d", code)
		}
	}
	for _, l := range r.listeners {
		<-l.ended
		for _, row := range l.back {
			r.t.Errorf("a client saw %s", row)
		}
	}
	r.listeners = nil
	for i := range r.edges {
		r.edges[i] = r.launch(i)
		r.listenAll(i)
	}
	r.tick(quiet())
}
