// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Names are names of hosts in lower case, without a dot at the end; *.name stands for
// all names below it.
type Names []string

var hostName = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$`)

// ParseNames takes names with commas between.
func ParseNames(list string) (names Names, err error) {
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name := plainName(item)
		if !hostName.MatchString(name) || len(name) > 255 {
			return nil, fmt.Errorf("%q is no name of a host, want for example edge.example.com or *.svc.cluster.local, without scheme and port", item)
		}
		names = names.and(name)
	}
	return names, nil
}

func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// and returns the names and one more, if it is one.
func (h Names) and(name string) Names {
	if name = plainName(name); name == "" || slices.Contains(h, name) {
		return h
	}
	return append(slices.Clip(h), name)
}

// andOwn returns the names and those of this machine.
func (h Names) andOwn() Names {
	own, err := os.Hostname()
	if err != nil {
		return h
	}
	first, _, _ := strings.Cut(own, ".")
	return h.and(own).and(first)
}

// Called returns the names by which a port that listens on a host may be called: these, the host itself,
// localhost and those of this machine.
func (h Names) Called(host string) Names { return h.and(host).and("localhost").andOwn() }

// Allow reports whether a request may be for this host (RFC 9110, 7.2). An address can be
// no name that somebody else has made stand for ours, and who sends no Host is no browser.
func (h Names) Allow(host string) bool {
	name := host
	if before, _, err := net.SplitHostPort(host); err == nil {
		name = before
	} else if inner, ok := strings.CutPrefix(host, "["); ok {
		name = strings.TrimSuffix(inner, "]")
	}
	if name = plainName(name); name == "" {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return slices.ContainsFunc(h, func(of string) bool {
		if below, ok := strings.CutPrefix(of, "*"); ok {
			return strings.HasSuffix(name, below)
		}
		return name == of
	})
}
