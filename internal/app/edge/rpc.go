// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/flags"
	"tickedge/internal/rpc"
)

// rpcFlags are the fields that errors of its configuration begin with, and their flags.
var rpcFlags = strings.NewReplacer("MaxConns", "-grpc-max-conns", "MaxStreams", "-grpc-max-streams",
	"TLSCert", "-grpc-tls-cert", "TLSKey", "-grpc-tls-key", "ClientCA", "-grpc-client-ca")

// validateRPC looks at the flags of the port for gRPC.
func (c *Config) validateRPC() error {
	var errs problems
	if c.rpc.Listen == "" {
		return nil
	}
	if !app.IsHostPort(c.rpc.Listen) {
		errs.bad("-grpc is %s, want host:port such as :8083 or 127.0.0.1:8083, or nothing", flags.Quote(c.rpc.Listen))
	}
	for _, other := range []struct{ flag, addr string }{{"-listen", c.loop.Listen}, {"-admin", c.admin}, {"-api", c.api.Addr}} {
		if samePort(other.addr, c.rpc.Listen) {
			errs.bad("-grpc is %s and %s is %s: want another port for one of them", c.rpc.Listen, other.flag, other.addr)
		}
	}
	errs.add(named(c.rpc.Validate(), rpcFlags))
	return errors.Join(errs...)
}

// startRPC opens the port for gRPC, behind all that its clients need.
func (e *edge) startRPC() (err error) {
	if e.cfg.rpc.Listen == "" {
		return nil
	}
	cfg, port := e.cfg.rpc, &e.clientPort
	cfg.Table, cfg.Limits, cfg.Share, cfg.Log = e.table, port.Shard, e.server, e.log
	cfg.Trusted, cfg.Verifier, cfg.Existing, cfg.Private = port.Trusted, e.verifier, port.Existing, port.Private
	cfg.Requests, cfg.FetchWait, cfg.ListTopics = port.Requests, port.FetchWait, port.ListTopics
	if e.rpc, err = rpc.Start(cfg); err != nil {
		e.shutdown(0)
		return app.ListenHint(err, "-grpc", cfg.Listen, "perhaps another edge: each needs a port of its own for gRPC")
	}
	e.log.Info("port for gRPC open", "addr", e.rpc.Addr().String(), "tls", cfg.TLSCert != "", "max_conns", cfg.MaxConns)
	return nil
}

// shutdown sends the clients of both ports away.
func (e *edge) shutdown(over time.Duration) {
	var both sync.WaitGroup
	if e.rpc != nil {
		both.Go(func() { e.rpc.Shutdown(context.Background(), over) })
	}
	e.server.Shutdown(context.Background(), over)
	both.Wait()
}

// updatesByRPC is how many rows of updates went to streams of gRPC.
func (e *edge) updatesByRPC() uint64 {
	if e.rpc == nil {
		return 0
	}
	return e.rpc.Updates()
}
