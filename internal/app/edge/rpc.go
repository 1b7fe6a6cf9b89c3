// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/backoffice"
	"tickedge/internal/backoffice/grpcapi"
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
	errs.add(c.validateRPCAPI())
	return errors.Join(errs...)
}

// validateRPCAPI looks at the back office on the port for gRPC: somebody may call it, and no key is sent there in the clear.
func (c *Config) validateRPCAPI() error {
	switch {
	case !c.rpcAPI || c.api.Addr == "": // That the second is missing is said elsewhere.
		return nil
	case c.rpc.TLSCert == "" && !backoffice.Loopback(c.rpc.Listen):
		return errors.New("-grpc-api is set and -grpc is not loopback: keys would be sent there in the clear. " +
			"Want -grpc-tls-cert and -grpc-tls-key, or an address such as 127.0.0.1:8083")
	case c.api.KeyFile == "" && c.rpc.ClientCA == "":
		return errors.New("-grpc-api is set, and nobody may call it: want -api-key-file, " +
			"or -grpc-client-ca with the authorities of -api-client-ca")
	}
	return nil
}

// startRPC opens the port for gRPC, behind all that its clients need.
func (e *edge) startRPC() (err error) {
	if e.cfg.rpc.Listen == "" {
		return nil
	}
	cfg, port := e.cfg.rpc, &e.port
	cfg.Table, cfg.Limits, cfg.Share, cfg.Log = e.table, port.Shard, e.server, e.log
	cfg.Trusted, cfg.Verifier, cfg.Existing, cfg.Private = port.Trusted, e.verifier, port.Existing, port.Private
	cfg.Requests, cfg.FetchWait, cfg.ListTopics = port.Requests, port.FetchWait, port.ListTopics
	if e.cfg.rpcAPI {
		cfg.Register = grpcapi.New(e.api.Service).Register
	}
	if e.rpc, err = rpc.Start(cfg); err != nil {
		e.shutdown(0)
		return app.ListenHint(err, "-grpc", cfg.Listen, "perhaps another edge: each needs a port of its own for gRPC")
	}
	e.log.Info("port for gRPC open", "addr", e.rpc.Addr().String(), "tls", cfg.TLSCert != "", "max_conns", cfg.MaxConns, "back_office", e.cfg.rpcAPI)
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
