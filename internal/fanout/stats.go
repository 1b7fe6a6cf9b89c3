// SPDX-License-Identifier: Apache-2.0

package fanout

// Counter is something that a shard counts.
type Counter uint8

const (
	Visits           Counter = iota
	Flushes                  // Updates written.
	Snapshots                // Snapshots written.
	Heartbeats               // Messages that nothing has happened.
	FeedsTold                // Messages that a feed is up or down.
	StaleTold                // Messages that topics are stale.
	Withdrawn                // Messages that topics were taken away.
	Announcements            // Texts of operators.
	Pings                    //
	Tokens                   // Tokens to resume with.
	ScreensTold              // Messages of screens.
	Resumed                  // Subscribes with a token that was taken,
	NotResumed               // and those with another one.
	RowsSpared               // Rows that clients had who resumed.
	UpdateRows               // Rows in updates.
	SnapshotRows             // Rows in snapshots.
	ScreenRows               // Rows in messages of screens.
	Pieces                   // Visits that had to leave something for the next one, as a write has a limit.
	Skipped                  // Flushes that did not take place because of backlog.
	SlowedDown               // Steps that conns went up on the ladder.
	Recovered                // Steps that they went down again.
	CommandsRefused          // Beyond the rate.
	TopicsRefused            // Subscribed beyond the rate.
	NewTopicsRefused         // New to the edge, beyond the rate of their prefix.
	NewTopicsHeldUp          // New to the edge, beyond what a turn makes.
	ValuelessRefused         // Without a value, beyond the limit of the conn.
	ScreensRefused           // Screens that were asked for and not given.
	SnapshotsDelayed         // Times one had to wait for the rate of its prefix.
	Stalls                   // Times the wheel was more than its own length behind.

	Counters // One more than the last.
)

// Metric is a counter as operators see it. Those with one name are told apart by the value of a
// label, and the first of them has the help. One without a name is not shown.
type Metric struct{ Name, Help, Label, Value string }

// Metrics are the counters as operators see them.
var Metrics = [Counters]Metric{
	Flushes:          {"frames_sent_total", "WebSocket frames sent by the timer wheel and after subscribes, by kind.", "kind", "update"},
	Snapshots:        {"frames_sent_total", "", "kind", "snapshot"},
	Heartbeats:       {"frames_sent_total", "", "kind", "heartbeat"},
	FeedsTold:        {"frames_sent_total", "", "kind", "feed"},
	StaleTold:        {"frames_sent_total", "", "kind", "stale"},
	Withdrawn:        {"frames_sent_total", "", "kind", "unsubscribed"},
	Announcements:    {"frames_sent_total", "", "kind", "announcement"},
	Pings:            {"frames_sent_total", "", "kind", "ping"},
	Tokens:           {"frames_sent_total", "", "kind", "resume"},
	Resumed:          {"resumes_total", "Subscribes of clients who came back with a token to resume with, by whether it was taken.", "resumed", "true"},
	NotResumed:       {"resumes_total", "", "resumed", "false"},
	RowsSpared:       {"resumed_rows_total", "Rows that were not sent to clients who resumed, as they had them.", "", ""},
	UpdateRows:       {"rows_sent_total", "Rows sent, by the kind of their frame.", "kind", "update"},
	SnapshotRows:     {"rows_sent_total", "", "kind", "snapshot"},
	ScreensTold:      {"frames_sent_total", "", "kind", "screen"},
	ScreenRows:       {"rows_sent_total", "", "kind", "screen"},
	ScreensRefused:   {"screens_refused_total", "Screens that clients of the client port have asked for and not been given, for whatever reason. Streams of gRPC are told by edge_screen_limits_total alone.", "", ""},
	Pieces:           {"pieces_total", "Visits of connections that had to leave rows for the next one, as what is written at a time has a limit.", "", ""},
	Skipped:          {"flushes_skipped_total", "Flushes left out because the client had not taken the last one.", "", ""},
	SlowedDown:       {"slow_downs_total", "Steps by which windows of slow clients were made longer, and shorter again.", "direction", "down"},
	Recovered:        {"slow_downs_total", "", "direction", "up"},
	CommandsRefused:  {"too_fast_total", "What was refused with 429 to clients that are connected: commands, topics of subscribes, and of these the ones that are new to the edge, for their source or because a turn had too many.", "what", "command"},
	TopicsRefused:    {"too_fast_total", "", "what", "topic"},
	NewTopicsRefused: {"too_fast_total", "", "what", "new_topic"},
	NewTopicsHeldUp:  {"too_fast_total", "", "what", "new_topic_turn"},
	ValuelessRefused: {"valueless_refused_total", "Topics that were refused because the client had too many that are known to have no value.", "", ""},
	SnapshotsDelayed: {"snapshots_delayed_total", "Times a snapshot had to wait because the client's address had used up its rate.", "", ""},
	Stalls:           {"wheel_stalls_total", "Times a timer wheel was more than one of its turns behind.", "", ""},
}

// Stats is how many conns a shard has, and what it counted.
type Stats struct {
	Opening, Open, Closing, Asking int

	Count   [Counters]uint64
	Evicted [Reasons]uint64
	Spans   [Spans]Histogram
}

// Add adds those of another shard to st.
func (st *Stats) Add(o *Stats) {
	st.Opening += o.Opening
	st.Open += o.Open
	st.Closing += o.Closing
	st.Asking += o.Asking
	for i, n := range o.Count {
		st.Count[i] += n
	}
	for i, n := range o.Evicted {
		st.Evicted[i] += n
	}
	for i := range o.Spans {
		st.Spans[i].add(&o.Spans[i])
	}
}
