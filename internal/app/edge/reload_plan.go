// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/broker/nats"
	"tickedge/internal/broker/redis"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/guard"
	"tickedge/internal/loop"
	"tickedge/internal/rpc"
)

// Flags that may change while an edge runs.
var (
	limitFlags = strings.Fields("origin max-conns max-topics command-rate command-burst subscribe-rate max-conns-per-ip conn-rate conn-burst " +
		"conn-rate-per-ip conn-burst-per-ip request-rate-per-ip request-burst-per-ip new-topics-rate-per-ip new-topics-burst-per-ip " +
		"snapshot-rate-per-ip slow-timeout slow-rate idle-timeout max-age max-sessions-per-user max-backlog-total max-valueless topics " +
		"drain drain-delay retry-spread")
	// The others are for an edge that has what they are about, and keeps it.
	tokenFlags  = strings.Fields("jwt-secret-file jwt-key-file jwt-issuer jwt-audience jwt-type jwt-leeway jwt-topics-claim jwt-allow-no-exp")
	apiFlags    = strings.Fields("api-key-file api-tls-cert api-tls-key api-client-ca")
	rpcTLSFlags = strings.Fields("grpc-tls-cert grpc-tls-key grpc-client-ca")
	sourceFlags = strings.Fields("source redis")
	// Files that each connection reads: what is in them may change.
	readAnewFlags = strings.Fields("redis-tls-ca redis-tls-cert redis-tls-key")
)

// fileFlags name the files whose content is looked at.
var fileFlags = slices.Concat(strings.Fields("config jwt-secret-file jwt-key-file trace-headers-file"), apiFlags, rpcTLSFlags, readAnewFlags)

// contentMax is more than any of these files may have, in bytes.
const contentMax = 2 << 20

// files are the names of the files.
func (c *Config) files() (names []string) {
	for _, flag := range fileFlags {
		if name := c.flags.Lookup(flag).Value.String(); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// readable returns what keeps files from being read while an edge runs, which must neither wait for who may never write, nor take the
// memory of its clients. That they are not there is for who reads them to say.
func readable(names []string) error {
	var errs problems
	for i, name := range names {
		st, err := os.Stat(name)
		switch {
		case err != nil || slices.Contains(names[:i], name):
		case !st.Mode().IsRegular():
			errs.bad("%s is no file, but a folder, pipe or device, and can't be read anew", name)
		case st.Size() > contentMax:
			errs.bad("%s is longer than %d MiB", name, contentMax>>20)
		case st.Size() == 0:
			errs.bad("%s is empty, as a file is that is about to be written: put a comment into one that is to set nothing", name)
		}
	}
	return errors.Join(errs...)
}

// readFiles returns hashes of files, or why there is none. Where a name is a link, it is what the link leads to.
func readFiles(names []string) map[string]string {
	found := make(map[string]string, len(names))
	for _, name := range names {
		if _, again := found[name]; !again {
			found[name] = readHash(name)
		}
	}
	return found
}

func readHash(name string) string {
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
		return "it is no file" // To open a pipe may take for ever, and what is read of it is gone.
	}
	f, err := os.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, contentMax+1))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d bytes %x", n, sum.Sum(nil))
}

// value is that of a flag.
type value struct {
	shown   string // Without passwords.
	raw     string
	content string // Of the file that it names.
}

// values are those of all flags, where files were found so.
func (c *Config) values(files map[string]string) map[string]value {
	all := make(map[string]value)
	for name := range c.flags.Names {
		text := c.flags.Lookup(name).Value.String()
		v := value{shown: flags.HideValue(text), raw: text}
		switch {
		case slices.Contains(sourceFlags, name):
			v.raw = ""
			for _, s := range map[string]*sources{"source": &c.sources, "redis": &c.olderSources}[name].list {
				v.raw += string(s) + "\n"
			}
		case name == "config", name == "check", name == "version":
			continue // They say nothing of an edge that runs.
		case slices.Contains(fileFlags, name):
			v.content = files[text]
		}
		all[name] = v
	}
	return all
}

// change is a flag that has another value than before.
type change struct {
	flag     string
	from, to value
}

// shownMax bounds what the log shows of a value.
const shownMax = 200

func (c change) String() string {
	switch {
	case c.from.shown == c.to.shown && c.to.content != "":
		return "-" + c.flag + " (its content)"
	case slices.Contains(sourceFlags, c.flag):
		return "-" + c.flag + " (users or passwords)"
	}
	cut := func(s string) string {
		if s == "" {
			return "nothing"
		} else if len(s) > shownMax {
			return strings.ToValidUTF8(s[:shownMax], "") + "…"
		}
		return s
	}
	return "-" + c.flag + " " + cut(c.from.shown) + " -> " + cut(c.to.shown)
}

// plan is what a new configuration changes. Nothing of it is applied yet, and nothing of it can fail.
type plan struct {
	next    *Config
	applied []change
	restart []string // The flags that can't be applied.
	apply   []func()
	adjust  func(context.Context) error // Of the client port.
}

func (p *plan) changes() string {
	texts := make([]string, len(p.applied))
	for i, c := range p.applied {
		texts[i] = c.String()
	}
	return strings.Join(texts, "; ")
}

// plan makes all ready that a new configuration changes. files are as it was read with.
func (r *reloader) plan(next *Config, files map[string]string) (*plan, error) {
	p, may := &plan{next: next, adjust: func(context.Context) error { return nil }}, slices.Clone(limitFlags)
	now := running{next.loop.MaxConns, next.loop.Backlog, next.drainDelay, next.drain, r.running().verifier}
	if limit, err := loop.FileLimit(); err == nil { // What it runs with takes files, and not what it would be started with.
		now.maxConns = max(1, min(now.maxConns, int(limit)-r.cfg.fileReserve()))
		next.loop.MaxConns = now.maxConns
	}
	var errs problems
	if renewed, err := r.planTokens(next); renewed != nil {
		now.verifier, may = renewed, append(may, tokenFlags...)
	} else {
		errs.add(err)
	}
	port, newTopics := r.portOf(next, now)
	errs.add(r.planAPI(p, next, &may))
	errs.add(r.planRPC(p, next, port, &may))
	if r.cfg.sameServers(next) {
		may = append(may, sourceFlags...)
		p.apply = append(p.apply, func() { r.cfg.renewSources(next) })
	}
	if r.cfg.level != nil {
		may = append(may, "log-level")
		p.apply = append(p.apply, func() { next.log.SetLevel(r.cfg.level) })
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	values := next.values(files)
	for name := range next.flags.Names {
		switch from, to := r.values[name], values[name]; {
		case from == to:
		case slices.Contains(may, name), slices.Contains(readAnewFlags, name) && from.raw == to.raw:
			p.applied = append(p.applied, change{name, from, to})
		default:
			p.restart = append(p.restart, "-"+name)
		}
	}
	if len(p.applied) == 0 {
		p.apply = nil
		return p, nil
	}
	p.apply = append(p.apply, func() {
		r.port = port
		r.newTopics.Store(newTopics)
		r.now.Store(&now)
	})
	p.adjust = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, adjustTime)
		defer cancel()
		return r.server.Adjust(ctx, port)
	}
	return p, nil
}

// portOf is the client port with what may change. Limits by address begin with full buckets, where they are others.
func (r *reloader) portOf(next *Config, now running) (port loop.Config, newTopics *guard.PrefixLimit) {
	begin := time.Now()
	port = r.port
	port.MaxConns, port.Backlog, port.RetrySpread, port.MaxSessions = now.maxConns, now.backlog, next.loop.RetrySpread, next.loop.MaxSessions
	port.Guard, port.Origins, port.Existing, port.Verifier = next.loop.Guard, next.loop.Origins, next.loop.Existing, now.verifier
	if next.requests != r.last.requests {
		port.Requests = guard.NewPrefixLimit(next.requests, begin)
	}
	newTopics, snapshots := r.port.Shard.NewTopics, r.port.Shard.Snapshots
	if next.newTopics != r.last.newTopics {
		newTopics = guard.NewPrefixLimit(next.newTopics, begin)
	}
	if next.snapshotRate != r.last.snapshotRate {
		snapshots = guard.NewPrefixLimit(next.snapshots(), begin)
	}
	port.Shard = next.loop.Shard
	port.Shard.NewTopics, port.Shard.Snapshots = newTopics, snapshots
	return port, newTopics
}

// planTokens returns the verifier of tokens that a new configuration wants, or nil if it can't be had while the edge runs.
func (r *reloader) planTokens(next *Config) (*auth.Verifier, error) {
	if r.verifier == nil || len(next.tokenSources()) == 0 || !r.cfg.tokens.SameJWKS(next.tokens) {
		return nil, nil
	}
	tokens := next.tokens
	tokens.Private, tokens.Revoked = r.cfg.loop.Private, r.revoked // As the port knows them, and as they are kept up to date.
	return r.running().verifier.Renew(tokens)
}

// planAPI makes keys, certificates and authorities of the back office ready.
func (r *reloader) planAPI(p *plan, next *Config, may *[]string) error {
	if r.api == nil || next.api.Addr == "" || (next.api.TLSCert == "") != (r.cfg.api.TLSCert == "") {
		return nil
	}
	renewal, err := next.api.Prepare()
	if err != nil {
		return flags.Named(err, apiErrors...)
	}
	*may = append(*may, apiFlags...)
	p.apply = append(p.apply, func() { r.api.Renew(renewal) })
	return nil
}

// planRPC makes ready what the port for gRPC goes by.
func (r *reloader) planRPC(p *plan, next *Config, port loop.Config, may *[]string) error {
	if r.rpc == nil {
		return nil
	}
	var cfg rpc.Config // Without files the certificate stays.
	if next.rpc.Listen != "" && (next.rpc.TLSCert == "") == (r.cfg.rpc.TLSCert == "") {
		cfg, *may = next.rpc, append(*may, rpcTLSFlags...)
	}
	cfg.Limits, cfg.Verifier, cfg.Existing, cfg.Requests = port.Shard, port.Verifier, port.Existing, port.Requests
	adjustment, err := r.rpc.Prepare(cfg)
	if err != nil {
		return named(err, rpcFlags)
	}
	p.apply = append(p.apply, func() { r.rpc.Adjust(adjustment) })
	return nil
}

// sameServers reports whether the sources of both differ in users and passwords alone.
func (c *Config) sameServers(next *Config) bool {
	return !c.demo && !next.demo && slices.EqualFunc(c.given().list, next.given().list, func(a, b sourceFlag) bool {
		patterns, urls := feed.ParseSource(string(a))
		others, renewed := feed.ParseSource(string(b))
		return slices.Equal(patterns, others) && slices.EqualFunc(feed.SplitURL(urls), feed.SplitURL(renewed), sameServers)
	})
}

func sameServers(a, b string) bool {
	return a == b || nats.Is(a) && nats.SameServers(a, b) || redis.IsURL(a) && redis.SameServers(a, b)
}

// renewSources has the sources go by the users and passwords of next, whose servers are the same.
func (c *Config) renewSources(next *Config) {
	for i, source := range next.given().list {
		_, urls := feed.ParseSource(string(source))
		for k, url := range feed.SplitURL(urls) {
			c.renewed(i, k).Set(url)
		}
	}
}
