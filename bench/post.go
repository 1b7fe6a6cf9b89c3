// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"tickedge/bench/internal/hist"
)

const (
	// resultTaken is what the back office says of a value that the broker has.
	resultTaken = "taken"
	// postPatience bounds a request.
	postPatience = 30 * time.Second
)

// resultMark stands before what became of a value, in the line of an answer.
var resultMark = []byte(`"result":"`)

// posted is what came of requests that publish.
type posted struct {
	results  map[string]uint64 // Values, by what became of them.
	times    hist.Hist         // Of requests, in µs.
	problems []string
}

// post publishes lines in requests over some conns, each of which goes on when it is answered, or later if
// there is a rate of lines a second for all of them, until over is closed. A conn ends with its first
// problem.
func post(url string, conns, lines, universe int, rate float64, over <-chan struct{}) *posted {
	all := &posted{results: map[string]uint64{}}
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range conns {
		group.Go(func() {
			p := &poster{url: url, client: http.Client{Timeout: postPatience, Transport: &http.Transport{}}, results: map[string]uint64{}}
			if rate > 0 {
				p.every = time.Duration(float64(time.Second) * float64(conns*lines) / rate)
			}
			err := p.run(func() []byte { return linesOf(i*lines, lines, universe) }, lines, over)
			p.client.CloseIdleConnections()
			mu.Lock()
			defer mu.Unlock()
			for result, n := range p.results {
				all.results[result] += n
			}
			all.times.Merge(&p.times)
			if err != nil {
				all.problems = append(all.problems, err.Error())
			}
		})
	}
	group.Wait()
	return all
}

// poster is one conn. Owned by one goroutine.
type poster struct {
	url     string
	every   time.Duration // The least time between two requests.
	client  http.Client
	results map[string]uint64
	times   hist.Hist
	answer  bytes.Buffer
}

// run sends the same body again and again if it is to be fast, and else each time a new one, whose values
// have the time.
func (p *poster) run(make func() []byte, lines int, over <-chan struct{}) error {
	body := make()
	for due := time.Now(); ; due = due.Add(p.every) {
		select {
		case <-over:
			return nil
		case <-time.After(time.Until(due)):
		}
		if p.every > 0 {
			body = make()
		}
		began := time.Now()
		if err := p.once(body); err != nil {
			return err
		}
		p.times.Add(uint64(time.Since(began).Microseconds()))
		if n := p.count(); n != lines {
			return fmt.Errorf("POST /publish answers %d lines to %d: %.200s", n, lines, p.answer.Bytes())
		}
	}
}

// once sends a request and reads its answer.
func (p *poster) once(body []byte) error {
	req, err := http.NewRequest(http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/x-ndjson")
	answer, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	p.answer.Reset()
	if _, err := p.answer.ReadFrom(answer.Body); err != nil && err != io.EOF {
		return fmt.Errorf("POST /publish: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("POST /publish: %s: %.200s", answer.Status, p.answer.Bytes())
	}
	return nil
}

// count counts the results of an answer.
func (p *poster) count() (lines int) {
	for rest := p.answer.Bytes(); ; lines++ {
		_, after, ok := bytes.Cut(rest, resultMark)
		if !ok {
			return lines
		}
		result, after, _ := bytes.Cut(after, []byte(`"`))
		if string(result) == resultTaken {
			p.results[resultTaken]++
		} else {
			p.results[string(result)]++
		}
		rest = after
	}
}
