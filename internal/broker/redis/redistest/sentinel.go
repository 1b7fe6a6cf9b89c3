// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// SentinelName is what the sentinels of [StartSentinel] call their primary.
const SentinelName = "prices"

// Sentinels is a primary, its replicas, and three sentinels that watch them.
type Sentinels struct {
	t       testing.TB
	servers []*Server
	guards  []*Server
}

// StartSentinel starts a primary with replicas, and three sentinels that take it for down
// after 0.6 s. password is that of the servers, guardPassword that of the sentinels; both
// may be empty.
func StartSentinel(t testing.TB, replicas int, password, guardPassword string) *Sentinels {
	t.Helper()
	s := &Sentinels{t: t}
	secrets := func() (args []string) {
		if password != "" {
			args = []string{"--requirepass", password, "--masterauth", password}
		}
		return append(args, "--repl-diskless-sync-delay", "0")
	}
	primary := Start(t, secrets()...)
	s.servers = append(s.servers, primary)
	for range replicas {
		s.servers = append(s.servers, New(t, append(secrets(), "--replicaof", "127.0.0.1 "+portOf(primary.addr))...))
	}
	for _, server := range s.servers[1:] {
		server.launch()
	}
	for _, server := range s.servers[1:] {
		Eventually(t, "the replica has the primary's data", func() bool {
			info, err := server.try("INFO", "replication")
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
	}
	for range 3 {
		guard := New(t)
		guard.password = guardPassword
		s.guards = append(s.guards, guard)
		guard.guards(primary, password)
	}
	for _, guard := range s.guards {
		Eventually(t, "the sentinels know each other and the replicas", func() bool {
			info, err := guard.try("SENTINEL", "MASTER", SentinelName)
			return err == nil && strings.Contains(info, fmt.Sprintf("num-slaves %d", replicas)) &&
				strings.Contains(info, "num-other-sentinels 2")
		})
	}
	return s
}

// guards starts s as a sentinel of primary.
func (s *Server) guards(primary *Server, password string) {
	s.t.Helper()
	dir := s.t.TempDir()
	lines := []string{
		"port " + portOf(s.addr), "bind 127.0.0.1", "dir " + dir,
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s 2", SentinelName, portOf(primary.addr)),
		fmt.Sprintf("sentinel down-after-milliseconds %s 600", SentinelName),
		fmt.Sprintf("sentinel failover-timeout %s 3000", SentinelName),
	}
	if password != "" {
		lines = append(lines, fmt.Sprintf("sentinel auth-pass %s %s", SentinelName, password))
	}
	if s.password != "" {
		lines = append(lines, "requirepass "+s.password)
	}
	file := filepath.Join(dir, "sentinel.conf") // They write their state into it.
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.exec(file, "--sentinel")
	s.wait()
}

// StartGuard starts one sentinel of a server.
func StartGuard(t testing.TB, primary *Server) *Server {
	t.Helper()
	guard := New(t)
	guard.guards(primary, primary.password)
	return guard
}

// Addrs are those of the sentinels.
func (s *Sentinels) Addrs() (addrs []string) {
	for _, guard := range s.guards {
		addrs = append(addrs, guard.addr)
	}
	return addrs
}

// URL is where the sentinels are, without passwords.
func (s *Sentinels) URL() string {
	return "redis-sentinel://" + strings.Join(s.Addrs(), ",") + "/" + SentinelName
}

// Servers are the primary that there was at the start, and its replicas.
func (s *Sentinels) Servers() []*Server { return s.servers }

// Guards are the sentinels.
func (s *Sentinels) Guards() []*Server { return s.guards }

// Primary is the server that most sentinels take for the primary.
func (s *Sentinels) Primary() (primary *Server) {
	s.t.Helper()
	Eventually(s.t, "most sentinels agree on a primary", func() bool {
		primary = s.elected()
		return primary != nil
	})
	return primary
}

// elected is nil if there is no majority for any.
func (s *Sentinels) elected() *Server {
	votes := make(map[string]int)
	for _, guard := range s.guards {
		if guard.answering() {
			reply, _ := guard.try("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SentinelName)
			votes[strings.ReplaceAll(strings.Trim(reply, "[]"), " ", ":")]++
		}
	}
	for _, server := range s.servers {
		if votes[server.addr] >= 2 {
			return server
		}
	}
	return nil
}

// Failover has a replica take over from a primary that works.
func (s *Sentinels) Failover() {
	s.t.Helper()
	old := s.Primary()
	Eventually(s.t, "the sentinels begin a failover", func() bool {
		_, err := s.guards[0].try("SENTINEL", "FAILOVER", SentinelName)
		return err == nil
	})
	s.WaitMoved(old)
}

// WaitMoved waits until most sentinels have another primary than old, and returns it.
func (s *Sentinels) WaitMoved(old *Server) *Server {
	s.t.Helper()
	var now *Server
	Eventually(s.t, "the sentinels have a new primary", func() bool {
		now = s.Primary()
		return now != old
	})
	return now
}

// Client returns a client that follows the primary. The caller closes it.
func (s *Sentinels) Client() *redis.Client {
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: SentinelName, SentinelAddrs: s.Addrs(), SentinelPassword: s.guards[0].password,
		Password: s.servers[0].password, Protocol: 2, DisableIdentity: true,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, MaxRetries: -1, DialerRetries: 1,
	})
}

// WaitFollowed waits until a client of [Sentinels.Client] is connected to the primary. The one that there was before
// takes what is written to it until it becomes a replica, and forgets that then.
func (s *Sentinels) WaitFollowed(client *redis.Client) {
	s.t.Helper()
	Eventually(s.t, "the client follows the primary", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		at, err := client.ConfigGet(ctx, "port").Result()
		return err == nil && at["port"] == portOf(s.Primary().addr)
	})
}

// IsReplica reports whether a server has become a replica of somebody.
func (s *Server) IsReplica() bool {
	c := s.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	role, err := c.Do(ctx, "ROLE").Slice()
	return err == nil && len(role) > 0 && role[0] == "slave"
}
