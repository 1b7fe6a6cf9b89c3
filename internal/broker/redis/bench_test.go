// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/topics"
)

// BenchmarkLink is what a message costs from the socket to the table, all CPU of the process
// included, that of writing it to the socket too.
func BenchmarkLink(b *testing.B) {
	const names = 1000
	var block []byte
	for i := range names {
		block = fmt.Appendf(block, "*3\r\n$7\r\nmessage\r\n$%d\r\nchannel:prices:T%d\r\n", len("channel:prices:T")+len(strconv.Itoa(i)), i)
		block = fmt.Appendf(block, "$%d\r\n%s\r\n", len(benchValue), benchValue)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	begin := make(chan struct{})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveBlocks(conn, block, begin, (b.N+names-1)/names)
		}
	}()
	r := run(b, At("redis://"+l.Addr().String()), topics.Config{Max: names, Linger: time.Minute})
	for i := range names {
		r.acquire(fmt.Sprint("T", i))
	}
	r.eventually("connected", func() bool { return r.Stats().Connected })
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	close(begin)
	for r.Stats().Counts[broker.Ticks] < uint64(b.N) {
		time.Sleep(50 * time.Microsecond)
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

const benchValue = `{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`

// serveBlocks answers the greeting of a connection, and then sends a block so many times.
func serveBlocks(conn net.Conn, block []byte, begin <-chan struct{}, times int) {
	defer conn.Close()
	in := make([]byte, 64<<10)
	for pinged := false; !pinged; {
		n, err := conn.Read(in)
		if err != nil {
			return
		}
		if bytes.Contains(in[:n], []byte("hello")) {
			io.WriteString(conn, "-ERR unknown command\r\n")
		}
		if pinged = bytes.Contains(in[:n], []byte("ping")); pinged {
			io.WriteString(conn, "+PONG\r\n")
		}
	}
	go io.Copy(io.Discard, conn)
	<-begin
	for range times {
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
	<-make(chan struct{})
}

// cpu is what the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStorm is how late ticks come while 400 clients subscribe to 256 fresh topics
// each, and how long it takes until Redis has confirmed them all.
func BenchmarkStorm(b *testing.B) {
	const fresh = 400 * 256
	var late []time.Duration
	took := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		s := redistest.Start(b)
		r := run(b, plain(s), topics.Config{Max: 2 * fresh, Linger: time.Minute})
		r.acquire("TICK")
		r.settled()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			c := s.Client()
			defer c.Close()
			for every := time.NewTicker(2 * time.Millisecond); ; {
				select {
				case <-stop:
					return
				case <-every.C:
					c.Publish(b.Context(), "channel:prices:TICK", time.Now().UnixNano())
				}
			}
		})
		tick, seen := r.ids["TICK"], uint64(0)
		wg.Go(func() {
			for ; ; time.Sleep(100 * time.Microsecond) {
				select {
				case <-stop:
					return
				default:
				}
				if row := r.table.Row(tick); row != nil && row.N != seen {
					seen = row.N
					at, _ := strconv.ParseInt(string(row.Value()), 10, 64)
					late = append(late, time.Since(time.Unix(0, at)))
				}
			}
		})
		r.eventually("ticks come", func() bool { return r.value("TICK") != "" })
		b.StartTimer()
		begin := time.Now()
		for i := range fresh {
			r.table.Acquire(fmt.Append(nil, "T", i), 0)
		}
		r.eventually("all are confirmed", func() bool { return r.Stats().Channels == fresh+1 })
		took += time.Since(begin)
		b.StopTimer()
		close(stop)
		wg.Wait()
		r.stop()
		s.Kill()
		b.StartTimer()
	}
	slices.Sort(late)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(late[len(late)/2]), "ms-median")
	b.ReportMetric(ms(late[len(late)*99/100]), "ms-p99")
	b.ReportMetric(ms(late[len(late)-1]), "ms-max")
	b.ReportMetric(ms(took)/float64(b.N), "ms-confirmed")
}

// BenchmarkGarbage is what a message costs that is dropped, those of 10 MB among them.
// -benchtime 1000000x makes a million of them.
func BenchmarkGarbage(b *testing.B) {
	s := redistest.Start(b)
	r := run(b, plain(s), limits)
	r.acquire("AAPL")
	r.settled()
	pour(r, s, 1000)
	before := heap()
	b.ResetTimer()
	n := pour(r, s, b.N)
	b.StopTimer()
	if r.Stats().Counts[broker.Connects] != 1 {
		b.Error("the connection was lost")
	}
	b.ReportMetric(float64(n), "dropped")
	b.ReportMetric(float64(heap())-float64(before), "B-more-heap")
	b.ReportMetric(float64(r.log.Count("value dropped")), "log-lines")
}

// BenchmarkRestart is how long it takes after a restart of Redis until 50,000 topics are
// subscribed and hold the newest values.
func BenchmarkRestart(b *testing.B) {
	const n = 50_000
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		s := redistest.Start(b, "--dir", b.TempDir())
		r := run(b, plain(s), limits)
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("T", i)
		}
		c := s.Client()
		set := func(value string) {
			pipe := c.Pipeline()
			for _, name := range names {
				pipe.Set(b.Context(), "price:"+name, value, 0)
			}
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		set(`{"p":189.87,"b":189.86,"a":189.88,"ts":1}`)
		r.acquire(names...)
		r.settled()
		set(`{"p":189.87,"b":189.86,"a":189.88,"ts":2}`)
		s.Do("SAVE")
		c.Close()
		s.Kill()
		r.eventually("down", func() bool { return !r.table.Health().Up })
		b.StartTimer()
		begin := time.Now()
		s.Start()
		r.eventually("up", func() bool { return r.table.Health().Up })
		took += time.Since(begin)
		b.StopTimer()
		for _, name := range names {
			if !strings.HasSuffix(r.value(name), `"ts":2}`) {
				b.Fatalf("%s is %s when the feed is up", name, r.value(name))
			}
		}
		if st := r.Stats(); st.Channels != n {
			b.Fatalf("%d channels", st.Channels)
		}
		r.stop()
		s.Kill()
		b.StartTimer()
	}
	b.ReportMetric(took.Seconds()/float64(b.N), "s-restart")
}

// BenchmarkPublish is what a tick costs its publisher, and what it costs Redis, with a version and
// without, in batches of a thousand.
func BenchmarkPublish(b *testing.B) {
	for name, ver := range map[string]int64{"plain": 0, "versioned": 1} {
		b.Run(name, func(b *testing.B) {
			s := redistest.Start(b)
			log, _ := newLog(b)
			p, err := NewPublisher(b.Context(), plain(s).Config, log)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			batch := make([]broker.Tick, 1000)
			for i := range batch {
				batch[i] = broker.Tick{Topic: fmt.Sprintf("GEN-%06d", i), Value: []byte(`{"p":189.87,"ts":1732181723411}`)}
			}
			before := usedCPU(s)
			n := 0
			for b.Loop() {
				n++
				for i := range batch {
					batch[i].Ver = ver * int64(n)
				}
				if !p.Publish(b.Context(), batch) || fates(batch)[broker.Taken] != len(batch) {
					b.Fatal("not published")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*len(batch)), "ns/tick")
			b.ReportMetric((usedCPU(s)-before)*1e9/float64(n*len(batch)), "redis-ns/tick")
		})
	}
}

// usedCPU is what a server has used of processors, in seconds.
func usedCPU(s *redistest.Server) (total float64) {
	for line := range strings.Lines(s.Do("INFO", "cpu")) {
		for _, of := range []string{"used_cpu_user:%f", "used_cpu_sys:%f"} {
			var seconds float64
			fmt.Sscanf(line, of, &seconds)
			total += seconds
		}
	}
	return total
}
