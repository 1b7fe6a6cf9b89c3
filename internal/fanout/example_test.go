// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"fmt"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/topics"
)

// client is one that a goroutine serves without a shard, and without a framing: a payload is
// a line here.
type client struct {
	fanout.Cursor
	fanout.Pass
}

// gather shows all that a client lacks.
func gather(cs *fanout.Cursors, table *topics.Table, c *client) {
	show := func(payload []byte) {
		if len(payload) > 0 {
			fmt.Printf("%s\n", payload)
		}
	}
	for more := true; more; more = c.More() {
		watermark := table.Watermark()
		snapshot, _ := cs.Snapshot(&c.Cursor, 0, watermark, 0, nil)
		show(snapshot)
		show(cs.Stale(&c.Cursor, watermark, nil))
		for i := range table.Sources() {
			show(cs.Feed(&c.Cursor, &c.Pass, i, watermark, nil))
		}
		cs.FindStale(&c.Cursor, watermark)
		show(cs.Rows(&c.Cursor, &c.Pass, watermark, 0, nil))
		show(cs.Stale(&c.Cursor, watermark, nil))
	}
}

// Two clients that share cursors subscribe, gather what they lack, and go.
func ExampleCursors() {
	table := topics.New(topics.Config{Max: 10, Linger: time.Minute})
	cs := fanout.NewCursors(table)
	cs.At(time.UnixMilli(1732181723500))

	var a, b client
	cs.Start(&a.Cursor)
	table.SetSourceState(0, true, 1732181723400)
	fmt.Println(cs.Subscribe(&a.Cursor, []byte("AAPL"), 0, false))
	table.Publish("AAPL", "189.87", topics.Meta{})
	table.Publish("AAPL", "189.88", topics.Meta{})
	gather(cs, table, &a)

	cs.Start(&b.Cursor)
	fmt.Println(cs.Subscribe(&b.Cursor, []byte("AAPL"), 0, false))
	gather(cs, table, &b)

	table.Publish("AAPL", "189.89", topics.Meta{})
	cs.Unsubscribe(&a.Cursor, &a.Pass, []byte("AAPL"))
	gather(cs, table, &a)
	gather(cs, table, &b)
	cs.Release(&b.Cursor)
	fmt.Println(table.Subscriptions())
	// Output:
	// <nil>
	// {"t":"feed","state":"up","since":1732181723400}
	// {"t":"update","ts":1732181723500,"d":[{"s":"AAPL","n":2,"v":189.88}]}
	// <nil>
	// {"t":"snapshot","ts":1732181723500,"d":[{"s":"AAPL","n":2,"v":189.88}]}
	// {"t":"update","ts":1732181723500,"d":[{"s":"AAPL","n":3,"v":189.89}]}
	// 0
}
