// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Thousands come and go. A third says goodbye, a third ends with a FIN and a third
// with a reset. Nothing is left of them, on the running server already.
func TestChurn(t *testing.T) {
	const count, workers = 5000, 16
	e := serve(t)
	var todo atomic.Int64
	var working sync.WaitGroup
	failed := make(chan error, workers)
	life := func(i int64) error {
		c, err := connect(e.Addr(), patience)
		if err != nil {
			return err
		}
		defer c.close()
		if err := c.handshake("?topics=A,B"); err != nil {
			return err
		}
		// All that will come is read, or a close would be a reset.
		for range 2 {
			if _, err := c.read(); err != nil {
				return err
			}
		}
		switch i % 3 {
		case 0:
			if _, err := c.Write(closeFrame(1000, "")); err != nil {
				return err
			}
			_, _, err = c.next()
			return err
		case 1:
			c.reset()
		}
		return nil
	}
	for range workers {
		working.Go(func() {
			for i := todo.Add(1); i <= count; i = todo.Add(1) {
				if err := life(i - 1); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	working.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	until(t, func() bool { return e.Conns() == 0 && e.table.Subscriptions() == 0 }, "all to be gone")
	e.wantClosed("peer_close", "1000", (count+2)/3)
	// The kernel may report the odd reset as an end.
	until(t, func() bool {
		return e.closed("peer_gone", "1006")+e.closed("peer_reset", "1006") == count-(count+2)/3
	}, "all to be counted")
	if n := e.closed("peer_reset", "1006"); n < count/3*9/10 || n > (count+1)/3 {
		t.Errorf("%d resets counted, want about %d", n, (count+1)/3)
	}
	until(t, func() bool {
		st := e.Stats()
		return st.Loop[Accepted] == count && st.Loop[WebSockets] == count && st.Opening+st.Open+st.Closing == 0
	}, "the counters to be at rest")
	e.eachConn(func(_ *loop, c *conn) { t.Errorf("conn %d is still there", c.id) })
}
