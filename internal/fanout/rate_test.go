package fanout

import (
	"fmt"
	"testing"
	"time"

	"tickedge/internal/wsproto"
)

// clockEvents is after how many events, at the rate, a guard.Limit's clock begins anew.
const clockEvents = 1 << 28

// A new conn has its whole burst, also right before the clock of the limit begins anew.
func TestNewConnHasItsBurst(t *testing.T) {
	cfg := testConfig()
	cfg.CommandRate, cfg.CommandBurst = DefaultCommandRate, DefaultCommandBurst
	cfg.SubscribeRate, cfg.SubscribeBurst = DefaultSubscribeRate, DefaultSubscribeBurst
	for _, rate := range []int{cfg.CommandRate, cfg.SubscribeRate} {
		wraps := time.Duration(clockEvents / float64(rate) * float64(time.Second))
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
