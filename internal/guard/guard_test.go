// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// check holds a guard against its invariants.
func check(t testing.TB, g *Guard) {
	t.Helper()
	for i := range g.shards {
		s := &g.shards[i]
		for src, n := range s.held {
			if n == 0 || g.conns > 0 && n > g.conns || src == 0 {
				t.Fatalf("source %x holds %d of %d", src, n, g.conns)
			}
		}
		for j := range s.recent {
			seen := map[Prefix]bool{}
			for _, v := range s.recent[j] {
				if seen[v.prefix] && v.prefix != 0 {
					t.Fatalf("source %x has two buckets", v.prefix)
				}
				seen[v.prefix] = true
			}
		}
	}
}

// enter wants an outcome for a prefix, and good advice.
func enter(t testing.TB, g *Guard, s Prefix, now time.Time, want Outcome) {
	t.Helper()
	v := g.Enter(s, now)
	if v.Outcome != want {
		t.Fatalf("%v, want %v", v.Outcome, want)
	}
	checkAdvice(t, v)
}

func checkAdvice(t testing.TB, v Verdict) {
	t.Helper()
	low, high := 0, 0
	switch v.Outcome {
	case TooFast:
		low, high = 1, 5
	case TooManyConns:
		low, high = 10, 29
	case Overloaded:
		low, high = 1, 60
	}
	if v.RetryAfter < low || v.RetryAfter > high {
		t.Fatalf("%v with the advice to wait %d s, want %d to %d", v.Outcome, v.RetryAfter, low, high)
	}
}

func TestNoLimits(t *testing.T) {
	g := New(Config{}, epoch)
	for range 1000 {
		enter(t, g, src("192.0.2.1"), epoch, OK)
	}
	g.Leave(src("192.0.2.1"))
	if st := g.Stats(); st != (Stats{}) {
		t.Errorf("%+v", st)
	}
}

func TestConnsPerPrefix(t *testing.T) {
	g := New(Config{ConnsPerPrefix: 2}, epoch)
	a, b, c := src("192.0.2.1"), src("192.0.2.2"), src("2001:db8::1")
	for range 3 {
		for _, s := range []Prefix{a, b, c} {
			enter(t, g, s, epoch, OK)
			enter(t, g, s, epoch, OK)
			enter(t, g, s, epoch, TooManyConns)
		}
		enter(t, g, src("2001:db8::2"), epoch, TooManyConns) // The same network as c.
		enter(t, g, src("::ffff:192.0.2.1"), epoch, TooManyConns)
		if n := g.Stats().Prefixes; n != 3 {
			t.Fatalf("%d sources", n)
		}
		g.Leave(a)
		enter(t, g, b, epoch, TooManyConns)
		enter(t, g, a, epoch, OK)
		check(t, g)
		for _, s := range []Prefix{a, b, c} {
			g.Leave(s)
			g.Leave(s)
		}
		if n := g.Stats().Prefixes; n != 0 {
			t.Fatalf("%d sources, all have left", n)
		}
	}
	if st := g.Stats(); st.Refused != [Outcomes]uint64{TooManyConns: 3 * 6} {
		t.Errorf("%+v", st)
	}
}

func TestLeaveOfNobody(t *testing.T) {
	g := New(Config{ConnsPerPrefix: 1}, epoch)
	for range 10 {
		enter(t, g, 0, epoch, OK)
	}
	g.Leave(0)
	wantPanic(t, func() { g.Leave(src("192.0.2.1")) })
	enter(t, g, src("192.0.2.1"), epoch, OK) // The lock is free.
	g.Leave(src("192.0.2.1"))
	wantPanic(t, func() { g.Leave(src("192.0.2.1")) })
}

func TestPerPrefix(t *testing.T) {
	g := New(Config{PerPrefix: Rate{PerSecond: 2, Burst: 3}}, epoch)
	a, b := src("192.0.2.1"), src("192.0.2.2")
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	for range 3 {
		enter(t, g, a, at(0), OK)
	}
	for range 1000 { // What is refused is not counted.
		enter(t, g, a, at(0), TooFast)
	}
	enter(t, g, b, at(0), OK)
	enter(t, g, a, at(499), TooFast)
	enter(t, g, a, at(500), OK)
	enter(t, g, a, at(500), TooFast)
	enter(t, g, a, at(400), TooFast) // Another loop is a little behind.
	enter(t, g, a, at(1000), OK)
	for range 3 {
		enter(t, g, a, at(60_000), OK)
	}
	enter(t, g, a, at(60_000), TooFast)
	for range 100 {
		enter(t, g, 0, at(60_000), OK) // Nobody has no rate of its own.
	}
	check(t, g)
}

func TestTotal(t *testing.T) {
	g := New(Config{Total: Rate{PerSecond: 10, Burst: 5}}, epoch)
	for i := range 5 {
		enter(t, g, Prefix(i), epoch, OK)
	}
	enter(t, g, 7, epoch, Overloaded)
	enter(t, g, 0, epoch, Overloaded)
	enter(t, g, 7, epoch.Add(99*time.Millisecond), Overloaded)
	enter(t, g, 7, epoch.Add(100*time.Millisecond), OK)
	enter(t, g, 7, epoch.Add(100*time.Millisecond), Overloaded)
	if st := g.Stats(); st.Refused != [Outcomes]uint64{Overloaded: 4} {
		t.Errorf("%+v", st)
	}
}

// Somebody who is refused takes nothing from anybody, himself included.
func TestRefusedUseNothingUp(t *testing.T) {
	g := New(Config{ConnsPerPrefix: 1, PerPrefix: Rate{1, 2}, Total: Rate{1, 3}}, epoch)
	a, b, c, d := src("192.0.2.1"), src("192.0.2.2"), src("192.0.2.3"), src("192.0.2.4")
	enter(t, g, a, epoch, OK)
	for range 10 {
		enter(t, g, a, epoch, TooManyConns)
	}
	g.Leave(a)
	enter(t, g, a, epoch, OK) // The rate of its own is not used up.
	for range 10 {
		enter(t, g, a, epoch, TooFast)
	}
	enter(t, g, b, epoch, OK) // Nor is that of all.
	for range 10 {
		enter(t, g, c, epoch, Overloaded)
	}
	if n := g.Stats().Prefixes; n != 2 {
		t.Errorf("%d sources", n)
	}
	enter(t, g, c, epoch.Add(time.Second), OK)
	enter(t, g, d, epoch.Add(time.Second), Overloaded)
	g.Leave(c)
	enter(t, g, c, epoch.Add(2*time.Second), OK)
	check(t, g)
}

// Those who come while all come too fast are told to come one after the other.
func TestRetryAfterIsALine(t *testing.T) {
	g := New(Config{Total: Rate{PerSecond: 10, Burst: 10}}, epoch)
	for range 10 {
		enter(t, g, 1, epoch, OK)
	}
	late := map[int]int{}
	for i := range 2000 {
		v := g.Enter(1, epoch)
		checkAdvice(t, v)
		if place := 1 + i/10; place < retryMax && (v.RetryAfter < place || v.RetryAfter > place+1) {
			t.Fatalf("number %d is told to wait %d s", i, v.RetryAfter)
		} else if place >= retryMax {
			late[v.RetryAfter]++
		}
	}
	if len(late) < retryMax/3 {
		t.Errorf("those at the end of the line are told only %d different times", len(late))
	}
	// The line gets shorter as time goes by.
	for g.Enter(1, epoch.Add(time.Minute)).Outcome == OK {
	}
	if v := g.Enter(1, epoch.Add(time.Minute)); v.RetryAfter > 2 {
		t.Errorf("after a minute the advice is still to wait %d s", v.RetryAfter)
	}
}

// A storm of clients that do as they are told is over in about the time that the rate
// makes it, and most of them come twice.
func TestStormOfObedientClients(t *testing.T) {
	const clients, perSecond = 500, 10
	g := New(Config{Total: Rate{PerSecond: perSecond, Burst: perSecond}}, epoch)
	arrivals := map[int]int{0: clients} // By second.
	attempts, admitted, second := 0, 0, 0
	for ; admitted < clients; second++ {
		if second > 10*clients/perSecond {
			t.Fatalf("%d of %d are let in after %d s", admitted, clients, second)
		}
		for i := range arrivals[second] {
			attempts++
			now := epoch.Add(time.Duration(second)*time.Second + time.Duration(i)*time.Second/time.Duration(arrivals[second]))
			if v := g.Enter(1, now); v.Outcome == OK {
				admitted++
			} else {
				arrivals[second+v.RetryAfter]++
			}
		}
	}
	t.Logf("%d clients at %d per second: %d attempts, %d s", clients, perSecond, attempts, second)
	if attempts > 3*clients || second > 2*clients/perSecond {
		t.Errorf("%d attempts, %d s", attempts, second)
	}
}

// randomSource is one of so many that none comes twice.
func randomSource(r *rand.Rand) Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], 0x2001<<48|r.Uint64()>>16)
	return PrefixOf(netip.AddrFrom16(b))
}

// A flood of more addresses than the table has room for. Who keeps within its rate is
// never refused for it, and who is at its limit is not forgotten for it.
func TestFloodOfAddresses(t *testing.T) {
	const seconds, flood, burst = 3, 100_000, 3
	g := New(Config{PerPrefix: Rate{PerSecond: 1, Burst: burst}}, epoch)
	random := rand.New(rand.NewPCG(1, 2))
	good, greedy := src("192.0.2.1"), src("192.0.2.2")
	let := 0
	for second := range seconds {
		now := epoch.Add(time.Duration(second) * time.Second)
		enter(t, g, good, now, OK)
		for range flood {
			if g.Enter(greedy, now).Outcome == OK {
				let++
			}
			newcomer := randomSource(random)
			for range burst - 1 { // Less than the greedy one.
				enter(t, g, newcomer, now, OK)
			}
		}
	}
	if want := burst + seconds - 1; let != want {
		t.Errorf("the greedy one was let in %d times in %d s, want %d", let, seconds, want)
	}
	if st := g.Stats(); st.Forgotten < flood/2 {
		t.Errorf("%d were forgotten, so this was no flood", st.Forgotten)
	}
	check(t, g)
}

// Those that come at a moderate rate all have room, and are told from each other.
func TestModerateCrowd(t *testing.T) {
	g := New(Config{PerPrefix: Rate{PerSecond: 1, Burst: 1}}, epoch)
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for i := range 100_000 {
		now := epoch.Add(time.Duration(i) * 200 * time.Microsecond) // 5,000 in a second.
		s := randomSource(random)
		enter(t, g, s, now, OK)
		if g.Enter(s, now).Outcome == TooFast {
			refused++
		}
	}
	if refused < 99_990 {
		t.Errorf("%d of 100,000 were refused when they came at once again", refused)
	}
	if st := g.Stats(); st.Forgotten > 10 {
		t.Errorf("%d were forgotten", st.Forgotten)
	}
}

// The limits hold to the one when all loops come at the same time.
func TestConcurrentRatesAreExact(t *testing.T) {
	const workers, tries = 8, 30_000
	for _, tt := range []struct {
		name    string
		cfg     Config
		sources int
		want    int
	}{
		{"total", Config{Total: Rate{1, 4 * tries}}, workers, 4 * tries},
		{"per source", Config{PerPrefix: Rate{1, tries}}, 2, 2 * tries},
		{"both", Config{Total: Rate{1, 5 * tries / 2}, PerPrefix: Rate{1, tries}}, 3, 5 * tries / 2},
	} {
		g := New(tt.cfg, epoch)
		let := make([]atomic.Int64, tt.sources)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for range tries {
					if g.Enter(Prefix(1+w%tt.sources), epoch).Outcome == OK {
						let[w%tt.sources].Add(1)
					}
				}
			})
		}
		wg.Wait()
		sum := 0
		for i := range let {
			n := int(let[i].Load())
			sum += n
			if most := tt.cfg.PerPrefix.Burst; most > 0 && n > most {
				t.Errorf("%s: source %d was let in %d times, want %d at most", tt.name, i, n, most)
			}
		}
		if sum != tt.want {
			t.Errorf("%s: %d were let in, want %d", tt.name, sum, tt.want)
		}
		if st := g.Stats(); st.Refused[TooFast]+st.Refused[Overloaded] != uint64(workers*tries-sum) {
			t.Errorf("%s: %+v", tt.name, st)
		}
	}
}

// The bucket of all connections has no lock, and does nothing else here than to be taken
// from, so that loops that do not see each other would soon show.
func TestConcurrentTotalIsExact(t *testing.T) {
	const workers, tries, rounds = 4, 20_000, 20
	for range rounds {
		g := New(Config{Total: Rate{1, workers / 2 * tries}}, epoch)
		var let atomic.Int64
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for range workers {
			wg.Go(func() {
				<-begin
				mine := 0
				for range tries {
					if g.takeTotal(0) {
						mine++
					}
				}
				let.Add(int64(mine))
			})
		}
		close(begin)
		wg.Wait()
		if n := let.Load(); n != workers/2*tries {
			t.Fatalf("%d were let in, want %d", n, workers/2*tries)
		}
	}
}

// However many loops enter and leave, a prefix never holds more than its limit, and in
// the end it holds nothing and may have all again.
func TestConcurrentCountIsExact(t *testing.T) {
	const limit, workers, rounds = 5, 16, 20_000
	g := New(Config{ConnsPerPrefix: limit}, epoch)
	sources := []Prefix{src("192.0.2.1"), src("2001:db8::1"), src("198.51.100.1")}
	var held [3]atomic.Int64
	var most [3]atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 0))
			var mine []int
			for range rounds {
				if len(mine) > 0 && random.IntN(2) == 0 {
					i := random.IntN(len(mine))
					s := mine[i]
					mine[i] = mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					held[s].Add(-1)
					g.Leave(sources[s])
					continue
				}
				s := random.IntN(len(sources))
				if g.Enter(sources[s], epoch).Outcome == OK {
					mine = append(mine, s)
					n := held[s].Add(1)
					for m := most[s].Load(); n > m && !most[s].CompareAndSwap(m, n); m = most[s].Load() {
					}
				}
			}
			for _, s := range mine {
				held[s].Add(-1)
				g.Leave(sources[s])
			}
		})
	}
	wg.Wait()
	check(t, g)
	if n := g.Stats().Prefixes; n != 0 {
		t.Errorf("%d sources are held in the end", n)
	}
	for i, s := range sources {
		if n := most[i].Load(); n != limit {
			t.Errorf("source %d held %d at most, want the limit of %d", i, n, limit)
		}
		for range limit {
			enter(t, g, s, epoch, OK)
		}
		enter(t, g, s, epoch, TooManyConns)
	}
}

// memoryAddresses is how many addresses TestMemoryIsBounded makes up.
var memoryAddresses = 10_000_000

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Clients choose their addresses. A guard stays the size that the connections which are
// open at a time give it.
func TestMemoryIsBounded(t *testing.T) {
	const open = 1000
	empty := heap()
	g := New(Config{ConnsPerPrefix: 3, PerPrefix: Rate{PerSecond: 1, Burst: 2}}, epoch)
	random := rand.New(rand.NewPCG(1, 2))
	var held [open]Prefix
	step := 0
	run := func(count int) {
		for range count {
			step++
			slot := &held[step%open]
			g.Leave(*slot)
			*slot = randomSource(random)
			enter(t, g, *slot, epoch.Add(time.Duration(step)*10*time.Microsecond), OK)
		}
		check(t, g)
	}
	run(memoryAddresses / 10)
	before := heap()
	run(memoryAddresses - memoryAddresses/10)
	after := heap()
	t.Logf("%d bytes, %d after %d more addresses", before-empty, after-empty, memoryAddresses-memoryAddresses/10)
	if after > before+64<<10 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if limit := uint64(3 << 20 / 2); after-empty > limit {
		t.Errorf("%d bytes, want at most %d", after-empty, limit)
	}
	if n := g.Stats().Prefixes; n != open {
		t.Errorf("%d sources are held, want %d", n, open)
	}
	runtime.KeepAlive(g)
}

func TestAllocations(t *testing.T) {
	g := New(Config{ConnsPerPrefix: 2, PerPrefix: Rate{10_000, 100}, Total: Rate{10_000, 100}}, epoch)
	one, now := netip.MustParseAddr("2001:db8::1"), epoch
	l := NewLimit(Rate{10, 10}, 10)
	var b Bucket
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		s := PrefixOf(one)
		for g.Enter(s, now).Outcome == OK {
		}
		g.Leave(s)
		g.Leave(s)
		l.Take(&b, 1, now.Sub(epoch))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if st := g.Stats(); st.Refused[TooManyConns] < 1000 {
		t.Errorf("%+v: the refusals were not measured", st)
	}
}
