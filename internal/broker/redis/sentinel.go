// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
)

const (
	// sentinelPoll is the time between two looks at where the sentinels see the master.
	// A failover takes them seconds, and a question costs them nothing.
	sentinelPoll = time.Second
	// askMax bounds the time for an answer of a sentinel, or of the server that is to be
	// the master. Of several that are asked, one that is dead must not hold up the rest.
	askMax = time.Second
)

// sentinels are the target of a server that sentinels choose.
type sentinels struct{ *upstream }

// addrMax bounds the address of a server that a sentinel or a node of a cluster names: a
// name in the DNS has 253 bytes at most. A longer one would stand in every error about it,
// and in the log. The answer that it is in counts as none.
const addrMax = 253 + len("[]:65535")

// verdict is where a sentinel sees the master.
type verdict struct {
	addr  string
	epoch uint64 // The failover that made it so. A later one has a greater number.
}

// resolve returns the server that the sentinels call master, if it says so too. A master
// that was frozen over a failover is one still for some seconds, by what it says, but by
// then the sentinels do not name it any more.
func (s sentinels) resolve(ctx context.Context) (*goredis.Options, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	clients, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAll(clients)
	addr, err := s.ask(ctx, clients)
	if err != nil {
		return nil, err
	}
	opts, err := s.at(addr, s.opts)
	if err != nil {
		return nil, err
	}
	if err := s.checkMaster(ctx, *opts); err != nil {
		if s.isElsewhere(addr) {
			err = fmt.Errorf("%w: %w", errTheirLoopback, err)
		}
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return opts, nil
}

// watch ends when the sentinels have another master than addr. As long as none of them
// answers, the link itself is the better witness.
func (s sentinels) watch(ctx context.Context, addr string) error {
	var clients []*goredis.Client
	defer func() { closeAll(clients) }()
	for broker.Sleep(ctx, sentinelPoll) {
		var now string
		var err error
		if clients == nil {
			clients, err = s.dial(ctx)
		}
		if err == nil {
			now, err = s.ask(ctx, clients)
		}
		switch {
		case err != nil: // Perhaps for files that were renewed.
			closeAll(clients)
			clients = nil
		case now != addr:
			return fmt.Errorf("the sentinels have a new master, %s", now)
		}
	}
	return nil
}

// waitMax is short: longer waits are for the sake of a server, and this one may have been
// replaced meanwhile.
func (sentinels) waitMax() time.Duration { return time.Second }

// dial returns a client per sentinel. They connect when they are asked, and again if
// they have to, until ctx ends.
func (s sentinels) dial(ctx context.Context) ([]*goredis.Client, error) {
	var clients []*goredis.Client
	for _, addr := range s.addrs {
		opts, err := s.at(addr, s.sentinelOpts)
		if err != nil {
			closeAll(clients)
			return nil, err
		}
		clients = append(clients, newAsker(ctx, *opts))
	}
	return clients, nil
}

// newAsker returns a client for questions that are answered within askMax or not at all.
func newAsker(ctx context.Context, opts goredis.Options) *goredis.Client {
	most := min(askMax, opts.ReadTimeout)
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout = most, most, most
	opts.Dialer = dialer(ctx, &opts)
	return newClient(&opts)
}

func closeAll(clients []*goredis.Client) {
	for _, c := range clients {
		c.Close()
	}
}

// ask asks all sentinels at once, and takes the newest verdict.
func (s sentinels) ask(ctx context.Context, clients []*goredis.Client) (string, error) {
	v, err := newest("sentinel", s.addrs, func(i int) (verdict, error) { return s.askOne(ctx, clients[i]) },
		func(v, than verdict) bool { return v.epoch > than.epoch })
	return v.addr, err
}

// newest asks all at some addresses at once, and takes the newest answer. The error is that of
// one of them, if none has any.
func newest[T any](what string, addrs []string, ask func(i int) (T, error), newer func(T, than T) bool) (best T, err error) {
	answers := make([]T, len(addrs))
	errs := make([]error, len(addrs))
	var wg sync.WaitGroup
	for i := range addrs {
		wg.Go(func() {
			errs[i] = panics.Try(panics.Feed, func() (err error) {
				answers[i], err = ask(i)
				return err
			})
		})
	}
	wg.Wait()
	found := false
	for i, a := range answers {
		switch {
		case errs[i] != nil:
			err = fmt.Errorf("%s %s: %w", what, addrs[i], errs[i])
		case !found || newer(a, best):
			best, found = a, true
		}
	}
	if found {
		return best, nil
	}
	return best, err
}

// errNoMaster is the error of a sentinel that does not know the master's name.
var errNoMaster = errors.New("it knows no master of that name")

func (s sentinels) askOne(ctx context.Context, c *goredis.Client) (verdict, error) {
	// The epoch goes first: a failover between the two makes the verdict look older than
	// it is, not newer.
	pipe := c.Pipeline()
	state := goredis.NewMapStringStringCmd(ctx, "sentinel", "master", s.master)
	pipe.Process(ctx, state)
	where := goredis.NewStringSliceCmd(ctx, "sentinel", "get-master-addr-by-name", s.master)
	pipe.Process(ctx, where)
	execute(ctx, pipe) // Every command has its own error.
	addr, err := where.Result()
	switch {
	case errors.Is(err, goredis.Nil):
		return verdict{}, errNoMaster
	case err != nil:
		return verdict{}, err
	case state.Err() != nil:
		return verdict{}, state.Err()
	case len(addr) != 2:
		return verdict{}, fmt.Errorf("its address of the master has %d parts, want 2", len(addr))
	}
	at := net.JoinHostPort(strings.TrimSuffix(strings.TrimPrefix(addr[0], "["), "]"), addr[1])
	if len(at) > addrMax {
		return verdict{}, fmt.Errorf("its address of the master has %d bytes, want at most %d", len(at), addrMax)
	}
	if _, ok := withPort(at, ""); !ok {
		return verdict{}, fmt.Errorf("its address of the master is %q, want a host and a port", at)
	}
	epoch, err := strconv.ParseUint(state.Val()["config-epoch"], 10, 64)
	if err != nil {
		return verdict{}, fmt.Errorf("config-epoch: %w", err)
	}
	return verdict{at, epoch}, nil
}

// errNotMaster is the error of a server that the sentinels call master and that is a
// replica, for itself.
var errNotMaster = errors.New("the sentinels call it master, and it says that it is a replica")

// errTheirLoopback is the error of a master that the sentinels name by an address that means
// another host here.
var errTheirLoopback = errors.New("the sentinels, which are on another host, name it by an address of the loopback")

func (s sentinels) isElsewhere(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	return isLoopback(host) && !slices.ContainsFunc(s.addrs, func(asked string) bool {
		host, _, _ := net.SplitHostPort(asked)
		return isLoopback(host)
	})
}

// checkMaster asks a server for its role.
func (s sentinels) checkMaster(ctx context.Context, opts goredis.Options) error {
	c := newAsker(ctx, opts)
	defer c.Close()
	role, err := c.Do(ctx, "role").Slice()
	if err != nil {
		return fmt.Errorf("role: %w", err)
	}
	if len(role) == 0 || role[0] != "master" {
		return errNotMaster
	}
	return nil
}
