// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// seen is a list of what happened, with equal things in a row told as one.
type seen struct {
	what   []string
	counts []int
}

func (s *seen) add(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if n := len(s.what); n > 0 && s.what[n-1] == what {
		s.counts[n-1]++
		return
	}
	s.what, s.counts = append(s.what, what), append(s.counts, 1)
}

func (s *seen) String() string {
	out := make([]string, len(s.what))
	for i, what := range s.what {
		out[i] = times(s.counts[i], what)
	}
	return strings.Join(out, ", ")
}

func times(n int, what string) string {
	if n == 1 {
		return what
	}
	return strconv.Itoa(n) + " × " + what
}

// ending is what the end of a conn looks like.
func ending(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "ended"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silence"
	}
	return err.Error()
}

// crowd runs n clients, atOnce at a time, and counts their reactions.
func crowd(n, atOnce int, one func(i int) string) string {
	var mu sync.Mutex
	next := 0
	counts := map[string]int{}
	var going sync.WaitGroup
	for range min(n, atOnce) {
		going.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for next < n {
				i := next
				next++
				mu.Unlock()
				what := one(i)
				mu.Lock()
				counts[what]++
			}
		})
	}
	going.Wait()
	var all []string
	for what, count := range counts {
		all = append(all, fmt.Sprintf("%d × %s", count, what))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
