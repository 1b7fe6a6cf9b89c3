// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/exchange/exchangetest"
	"tickedge/internal/pgtest"
)

// mute is in front of a server, and can be made to let nothing through, with connections left open.
type mute struct {
	net.Listener
	on   atomic.Bool
	lost atomic.Int64 // What was not let through.
}

func silenced(t *testing.T, to string) *mute {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mute{Listener: ln}
	t.Cleanup(func() { ln.Close() })
	carry := func(from, to net.Conn) {
		defer to.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			if m.on.Load() {
				m.lost.Add(1)
			} else if _, err := to.Write(b[:n]); err != nil {
				return
			}
			if err != nil {
				return
			}
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if m.on.Load() {
				t.Cleanup(func() { c.Close() })
				continue
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			go carry(c, s)
			go carry(s, c)
		}
	}()
	return m
}

// A database that does not answer does not hold the end up, and costs no trade.
func TestEndsWithoutDatabase(t *testing.T) {
	const product = "BTC-USD"
	ex := exchangetest.Start(t, exchangetest.Config{Vendor: "coinbase", Products: []string{product}})
	db := pgtest.New(t)
	url := db.Database(t)
	m := silenced(t, db.Addr())
	checkpoints := t.TempDir()
	args := []string{"-checkpoints=" + checkpoints, "-in=coinbase", "-symbols=COINBASE:" + product, "-coinbase-ws=" + ex.WS, "-coinbase-rest=" + ex.REST,
		"-history=" + strings.Replace(url, db.Addr(), m.Addr().String(), 1), "-checkpoint-interval=1s"}
	p := start(t, args...)
	p.eventually("the product is subscribed", func() bool { return ex.Subscribers(product) > 0 })
	ex.Make(product, 20)
	shows(ex, product, "COINBASE:"+product, "1m", 60_000, p)
	p.eventually("a checkpoint is stored", func() bool {
		stored, _ := filepath.Glob(filepath.Join(checkpoints, "*"))
		for _, name := range stored {
			if s, err := os.Stat(name); err == nil && s.Size() > 100 {
				return true
			}
		}
		return false
	})
	m.on.Store(true)
	ex.Make(product, 20)
	p.eventually("something waits for the database", func() bool { return m.lost.Load() > 0 })
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended: // It says that it could not store all.
	case <-time.After(2 * patience):
		t.Fatal("it does not end")
	}
	if took := time.Since(began); took > 14*time.Second {
		t.Errorf("it has taken %v to end", took)
	}
	t.Logf("ended after %v", time.Since(began))
	m.on.Store(false)
	shows(ex, product, "COINBASE:"+product, "1m", 60_000, start(t, args...))
}
