// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/exchange/exchangetest"
)

var (
	crowd      = flag.Int("crowd", 0, "clients of the long form of TestCrowd, such as 5000; it takes two minutes and builds edge and bench")
	crowdEdges = flag.String("crowd-source", "redis", "broker of the long form of TestCrowd: redis, or the URL of one that is there")
)

// An exchange, marketdata, a broker, an edge and thousands of clients, as processes: how old rows are when they come, from the
// trade to the socket, also while marketdata is killed and started anew.
func TestCrowd(t *testing.T) {
	if *crowd == 0 {
		t.Skip("the long form: go test ./cmd/marketdata -run TestCrowd -crowd 5000 -v")
	}
	dir := t.TempDir()
	for _, b := range [][]string{{"build", "-o", dir, "./cmd/edge"}, {"-C", "bench", "build", "-o", filepath.Join(dir, "bench"), "."}} {
		cmd := exec.Command("go", b...)
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var products []string
	for i := range 10 {
		products = append(products, fmt.Sprintf("P%02d-USD", i))
	}
	ex := exchangetest.Start(t, exchangetest.Config{Vendor: "coinbase", Products: products})
	url := *crowdEdges
	if url == "redis" {
		url = "redis://" + redistest.Start(t).Addr()
	}
	args := []string{"-in=coinbase", "-symbols=COINBASE:" + strings.Join(products, ",COINBASE:"), "-coinbase-ws=" + ex.WS, "-coinbase-rest=" + ex.REST,
		"-broker=" + url, "-history=" + filepath.Join(dir, "h"), "-checkpoint-interval=1s"}
	p := start(t, args...)
	for _, product := range products {
		p.eventually("the product is subscribed", func() bool { return ex.Subscribers(product) > 0 })
	}
	stop := trading(t, ex, products)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	edge := exec.Command(filepath.Join(dir, "edge"), "-listen="+addr, "-admin=", "-source="+url)
	if err := edge.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { edge.Process.Kill(); edge.Wait() })
	p.eventually("the edge is there", func() bool { c, err := net.Dial("tcp", addr); return err == nil && c.Close() == nil })
	hold := func(names, seconds string, meanwhile func()) {
		t.Helper()
		cmd := exec.Command(filepath.Join(dir, "bench"), "hold", "-addr", addr, "-conns", strconv.Itoa(*crowd), "-topics", "10", "-universe", "10",
			"-topic-name", names, "-for", seconds, "-pid", strconv.Itoa(edge.Process.Pid))
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		meanwhile()
		err := cmd.Wait()
		t.Logf("%s, %v:\n%s", names, err, &out)
	}
	hold("COINBASE:P%02d-USD", "20s", func() {})
	hold("kline:1s:COINBASE:P%02d-USD", "20s", func() {})
	hold("COINBASE:P%02d-USD", "30s", func() {
		time.Sleep(20 * time.Second) // All clients have come, and some of the time has passed.
		p.end(syscall.SIGKILL)
		p = start(t, args...)
	})
	stop()
	for _, product := range products {
		shows(ex, product, "COINBASE:"+product, "1m", 60_000, p)
	}
}

// trading makes trades of all products, 500 a second, until it is told to stop.
func trading(t *testing.T, ex *exchangetest.Server, products []string) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				for _, p := range products {
					ex.Make(p, 1)
				}
			}
		}
	}()
	done := false
	stop = func() {
		if !done {
			done = true
			close(end)
			<-ended
		}
	}
	t.Cleanup(stop)
	return stop
}
