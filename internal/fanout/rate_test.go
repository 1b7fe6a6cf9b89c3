package fanout

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"tickedge/internal/wsproto"
)

// Over any time, what is let through is what the rate allows and the burst, whatever
// the rate, and also where the clock of a limit begins anew.
func TestLimitIsExact(t *testing.T) {
	for _, rate := range []int{1, 3, 20, 333, RateMax} {
		l := newLimit(rate, 5, 0)
		wraps := time.Duration(float64(1<<32)/float64(rate*unit)*float64(time.Second)) - time.Second
		for _, start := range []time.Duration{0, time.Hour, wraps, 200 * 24 * time.Hour} {
			b, passed := l.full(start), 0
			random := rand.New(rand.NewPCG(uint64(rate), 1))
			span := 20 * time.Second
			for at := start; at <= start+span; at += time.Duration(random.IntN(3)) * time.Millisecond {
				if l.take(&b, at) == within {
					passed++
				}
			}
			tries := 20_000
			want := min(5+20*rate, tries)
			if math.Abs(float64(passed-want)) > 1+0.02*float64(want) {
				t.Errorf("%d a second from %v on: %d passed in %v, want %d", rate, start, passed, span, want)
			}
		}
	}
}

// A conn that was silent for any time has its whole burst, and no more.
func TestLimitAfterSilence(t *testing.T) {
	l := newLimit(20, 40, 80)
	for _, silence := range []time.Duration{2 * time.Second, 7 * time.Second, time.Hour, 100 * 24 * time.Hour} {
		b, passed := l.full(0), 0
		for range 40 {
			l.take(&b, 0)
		}
		for range 50 {
			if l.take(&b, silence) == within {
				passed++
			}
		}
		if passed != 40 {
			t.Errorf("after %v: %d passed, want 40", silence, passed)
		}
	}
}

func TestLimitIsForgotten(t *testing.T) {
	l := newLimit(10, 3, 6)
	b := l.full(0)
	got := func(n int, at time.Duration) string {
		s := ""
		for range n {
			s += string("woa"[l.take(&b, at)])
		}
		return s
	}
	for i, step := range []struct {
		n    int
		at   time.Duration
		want string
	}{
		{11, 0, "wwwooooooaa"},
		{2, 100 * time.Millisecond, "oa"},         // What is refused counts, up to the end.
		{3, 800 * time.Millisecond, "woo"},        // Seven of nine are forgiven.
		{4, 1900 * time.Millisecond, "wwwo"},      // All of them.
		{4, 10 * 24 * 3600 * time.Second, "wwwo"}, // No more than the burst.
	} {
		if s := got(step.n, step.at); s != step.want {
			t.Errorf("step %d: %s, want %s", i, s, step.want)
		}
	}
}

// A new conn has its whole burst, also right before the clock of the limit begins anew.
func TestNewConnHasItsBurst(t *testing.T) {
	cfg := testConfig()
	cfg.CommandRate, cfg.CommandBurst = DefaultCommandRate, DefaultCommandBurst
	cfg.SubscribeRate, cfg.SubscribeBurst = DefaultSubscribeRate, DefaultSubscribeBurst
	for _, rate := range []int{cfg.CommandRate, cfg.SubscribeRate} {
		wraps := time.Duration(float64(1<<32) / float64(rate*unit) * float64(time.Second))
		w := newWorld(t, cfg, DefaultSubscribeBurst, wraps-time.Second)
		id := w.connect(0)
		for i := range DefaultSubscribeBurst / cfg.MaxTopics {
			names := make([]string, cfg.MaxTopics)
			for j := range names {
				names[j] = fmt.Sprintf("T%d.%d", i, j)
			}
			w.subscribe(id, names...)
			w.unsubscribe(id, names...)
		}
		for range DefaultCommandBurst - 2*DefaultSubscribeBurst/cfg.MaxTopics {
			w.command(id, wsproto.Command{Op: wsproto.OpPing})
		}
		if st := w.shard.Stats(); st.CommandsRefused > 0 || st.TopicsRefused > 0 {
			t.Errorf("%d commands and %d topics of the first burst are refused", st.CommandsRefused, st.TopicsRefused)
		}
		w.command(id, wsproto.Command{Op: wsproto.OpPing})
		if st := w.shard.Stats(); st.CommandsRefused != 1 {
			t.Errorf("%d commands above the burst are refused, want 1", st.CommandsRefused)
		}
	}
}
