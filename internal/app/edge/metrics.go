package edge

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"tickedge/internal/broker"
	"tickedge/internal/guard"
	"tickedge/internal/loop"
	"tickedge/internal/panics"
)

// exporter turns the plain counters of the parts into Prometheus metrics when it is
// asked. Nothing on the path of a tick knows of it.
type exporter struct{ *edge }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("edge_"+name, help, labels, nil)
}

var (
	connsDesc     = desc("connections", "Connections open now, by what they are doing.", "state")
	connsMaxDesc  = desc("connections_max", "Connections that are held at a time at most.")
	acceptedDesc  = desc("connections_accepted_total", "Connections accepted.")
	notAccDesc    = desc("accept_failures_total", "Times that accepting a connection failed. The loop tries again half a second later, and new connections wait.")
	openedDesc    = desc("connections_opened_total", "Connections that became WebSockets.")
	refusedDesc   = desc("connections_refused_total", "Requests answered with an error, by reason.", "reason")
	closedDesc    = desc("connections_closed_total", "Connections closed, by reason and close code (1006: without one).", "reason", "code")
	adminDesc     = desc("admin_refused_total", "Requests to the admin port that were refused, by reason.", "reason")
	pagesDesc     = desc("pages_total", "Requests for the live board.")
	commandsDesc  = desc("commands_total", "Client messages, by whether they were commands.", "result")
	panicsDesc    = desc("panics_total", "Panics that cost a connection, a link to Redis, a request or an attempt, by the part of the edge. Each one is a bug.", "part")
	subsDesc      = desc("subscriptions", "Subscriptions of all connections.")
	topicsDesc    = desc("topics", "Topics held, those that linger without subscribers included.")
	rowlessDesc   = desc("topics_rowless", "Topics held that never had a value, those that linger included.")
	reclaimedDesc = desc("topics_reclaimed_total", "Topics given up to make room for others: without a value and taken from those who had them, or lingering.", "state")
	waitingDesc   = desc("topics_waiting", "Topics of which the feed was not told yet, as it has enough to subscribe.")
	staleDesc     = desc("topics_stale", "Topics that have had no tick for longer than is to be expected of them.")
	wentStaleDesc = desc("stale_total", "Times a topic went stale.")
	framesDesc    = desc("frames_sent_total", "WebSocket frames sent by the timer wheel and after subscribes, by kind.", "kind")
	rowsDesc      = desc("rows_sent_total", "Rows sent, by the kind of their frame.", "kind")
	offeredDesc   = desc("rows_offered_total", "Ticks, each times its subscribers: the rows that would be sent without conflation.")
	conflatedDesc = desc("rows_conflated_total", "Rows that were not sent because a newer one took their place. It may run ahead by the rows of one window.")
	bytesInDesc   = desc("bytes_received_total", "Bytes received from clients.")
	bytesOutDesc  = desc("bytes_sent_total", "Bytes handed to client sockets.")
	piecesDesc    = desc("pieces_total", "Visits of connections that had to leave rows for the next one, as what is written at a time has a limit.")
	backlogDesc   = desc("backlog_bytes", "Bytes that client sockets have not taken yet, of all connections.")
	backlogMax    = desc("backlog_max_bytes", "How much that may be. Beyond it the connections with most of it are closed.")
	skippedDesc   = desc("flushes_skipped_total", "Flushes left out because the client had not taken the last one.")
	slowedDesc    = desc("slow_downs_total", "Steps by which windows of slow clients were made longer, and shorter again.", "direction")
	tooFastDesc   = desc("too_fast_total", "What was refused with 429 to clients that are connected: commands, topics of subscribes, and of these the ones that are new to the edge, for their source or because a turn had too many.", "what")
	valuelessDesc = desc("valueless_refused_total", "Topics that were refused because the client had too many that are known to have no value.")
	delayedDesc   = desc("snapshots_delayed_total", "Times a snapshot had to wait because the client's address had used up its rate.")
	turnDesc      = desc("turn_seconds", "Time of one turn of an event loop's timer wheel, flushes included.")
	lagDesc       = desc("wheel_lag_seconds", "How late the timer wheel is that is furthest behind.")
	stallsDesc    = desc("wheel_stalls_total", "Times a timer wheel was more than one of its turns behind.")

	tokensDesc       = desc("tokens_refused_total", "Tokens of handshakes and auth commands that were refused, by reason.", "reason")
	keysDesc         = desc("token_keys", "Keys that tokens may be signed with.")
	keysFetchedDesc  = desc("token_keys_fetched_timestamp_seconds", "When the keys of tokens were fetched, as Unix time; 0 if they never were.")
	keysFetchesDesc  = desc("token_keys_fetches_total", "Fetches of the keys of tokens, those that failed included.")
	keysFailuresDesc = desc("token_keys_fetch_failures_total", "Fetches of the keys of tokens that failed.")

	sourcesDesc   = desc("guard_sources", "IPv4 addresses and IPv6 /64 networks that hold connections, if these are limited.")
	limitedDesc   = desc("guard_refused_total", "Connections refused by the limits of new ones, by limit.", "limit")
	forgottenDesc = desc("guard_sources_forgotten_total", "Sources whose rate was forgotten because there were too many others.")

	ticksDesc      = desc("feed_ticks_total", "Ticks taken from the feed.")
	unwantedDesc   = desc("feed_unwanted_total", "Messages of topics that nobody wanted any more.")
	invalidDesc    = desc("feed_invalid_total", "Values dropped, by what is wrong with them.", "reason")
	olderDesc      = desc("feed_older_total", "Values dropped because their version was below that of the newest one.")
	repeatedDesc   = desc("feed_repeated_total", "Messages dropped because they came again, with the same version and value.")
	resetsDesc     = desc("feed_version_resets_total", "Topics whose versions were taken to begin anew, after nothing but older ones.")
	gapsDesc       = desc("feed_gaps_total", "Times ticks may have been missed, after which all values were fetched again.")
	repairsDesc    = desc("feed_repairs_total", "Fetched values that were newer than what was held.")
	fetchFailDesc  = desc("feed_fetch_failures_total", "Topics whose newest value could not be fetched, per attempt.")
	brokenDesc     = desc("feed_broken_total", "Connections given up because what came was not what Redis sends.")
	feedUpDesc     = desc("feed_connected", "1 while a source of the feed is connected, by the patterns of its topics.", "source")
	currentDesc    = desc("feed_current", "1 while the values of a source of the feed are current, which is what clients are told and /readyz says.", "source")
	behindDesc     = desc("feed_behind", "Topics that keep a source of the feed from being current: wanted when the gap began, and not read since.", "source")
	feedLagDesc    = desc("feed_lag_seconds", "How old a message may be that a source of the feed receives now; 0 while it is not connected.", "source")
	channelsDesc   = desc("feed_channels", "Redis channels subscribed, as Redis has confirmed them.")
	feedTopicsDesc = desc("feed_topics", "Topics that are to be subscribed.")
)

// Describe implements [prometheus.Collector]. What Collect sends depends on no
// state, so it describes itself.
func (e exporter) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(e, ch) }

// Collect implements [prometheus.Collector]. A panic fails the scrape.
func (e exporter) Collect(ch chan<- prometheus.Metric) {
	err := panics.Try(panics.Admin, func() error { e.collect(ch); return nil })
	if err != nil {
		e.log.Error("panic while collecting metrics", append([]any{"error", err, "hint", panics.Hint}, panics.Attrs(err)...)...)
		ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
	}
}

func (e exporter) collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	st := e.server.Stats()
	gauge(connsDesc, float64(st.Opening), "handshake")
	gauge(connsDesc, float64(st.Open), "open")
	gauge(connsDesc, float64(st.Closing), "closing")
	gauge(connsMaxDesc, float64(e.cfg.loop.MaxConns))
	count(acceptedDesc, st.Accepted)
	count(notAccDesc, st.AcceptFailures)
	count(openedDesc, st.Upgraded)
	for _, r := range st.Refused {
		count(refusedDesc, r.Count, r.Reason)
	}
	for _, c := range st.Closed {
		count(closedDesc, c.Count, c.Reason, c.Code)
	}
	for reason, n := range e.ops.Refused() {
		count(adminDesc, n, reason)
	}
	count(pagesDesc, st.Pages)
	count(commandsDesc, st.Commands, "ok")
	count(commandsDesc, st.Malformed, "malformed")
	for p := range panics.Parts {
		count(panicsDesc, panics.Count(p), p.String())
	}
	gauge(subsDesc, float64(e.table.Subscriptions()))
	gauge(topicsDesc, float64(e.table.Held()))
	gauge(rowlessDesc, float64(e.table.Rowless()))
	gauge(waitingDesc, float64(e.table.Waiting()))
	withdrawn, lingering := e.table.Reclaimed()
	count(reclaimedDesc, withdrawn, "held")
	count(reclaimedDesc, lingering, "lingering")
	stale, wentStale := e.table.StaleTopics()
	gauge(staleDesc, float64(stale))
	count(wentStaleDesc, wentStale)
	count(framesDesc, st.Flushes, "update")
	count(framesDesc, st.Snapshots, "snapshot")
	count(framesDesc, st.Heartbeats, "heartbeat")
	count(framesDesc, st.FeedsTold, "feed")
	count(framesDesc, st.StaleTold, "stale")
	count(framesDesc, st.Withdrawn, "unsubscribed")
	count(framesDesc, st.Pings, "ping")
	count(rowsDesc, st.UpdateRows, "update")
	count(rowsDesc, st.Rows-st.UpdateRows, "snapshot")
	count(offeredDesc, e.table.Offered())
	count(conflatedDesc, e.server.Conflated())
	count(bytesInDesc, st.BytesIn)
	count(bytesOutDesc, st.BytesOut)
	count(piecesDesc, st.Pieces)
	gauge(backlogDesc, float64(e.server.Backlog()))
	gauge(backlogMax, float64(e.cfg.loop.Backlog))
	count(skippedDesc, st.Skipped)
	count(slowedDesc, st.SlowedDown, "down")
	count(slowedDesc, st.Recovered, "up")
	count(tooFastDesc, st.CommandsRefused, "command")
	count(tooFastDesc, st.TopicsRefused, "topic")
	count(tooFastDesc, st.NewTopicsRefused, "new_topic")
	count(tooFastDesc, st.NewTopicsHeldUp, "new_topic_turn")
	count(valuelessDesc, st.ValuelessRefused)
	count(delayedDesc, st.SnapshotsDelayed)
	buckets, total := make(map[float64]uint64), uint64(0)
	for i, n := range st.Turns.Buckets {
		total += n
		if i < len(loop.TurnBounds) {
			buckets[loop.TurnBounds[i].Seconds()] = total
		}
	}
	ch <- prometheus.MustNewConstHistogram(turnDesc, total, st.Turns.Sum.Seconds(), buckets)
	gauge(lagDesc, st.Lag.Seconds())
	count(stallsDesc, st.Stalls)

	for _, r := range st.Tokens {
		count(tokensDesc, r.Count, r.Reason)
	}
	if e.verifier != nil {
		v := e.verifier.Stats()
		gauge(keysDesc, float64(v.Keys))
		if e.cfg.tokens.JWKSURL != "" {
			fetched := 0.0
			if !v.Fetched.IsZero() {
				fetched = float64(v.Fetched.UnixMilli()) / 1000
			}
			gauge(keysFetchedDesc, fetched)
			count(keysFetchesDesc, v.Fetches)
			count(keysFailuresDesc, v.Failures)
		}
	}
	g := e.server.Guard()
	gauge(sourcesDesc, float64(g.Sources))
	for o := guard.OK + 1; int(o) < guard.Outcomes; o++ {
		count(limitedDesc, g.Refused[o], o.String())
	}
	count(forgottenDesc, g.Forgotten)

	f := e.feed.Stats()
	count(ticksDesc, f.Counts[broker.Ticks])
	count(unwantedDesc, f.Counts[broker.Unwanted])
	for flaw := broker.Flawless + 1; flaw < broker.Flaws; flaw++ {
		count(invalidDesc, f.Flaws[flaw], flaw.Label())
	}
	count(olderDesc, f.Counts[broker.Older])
	count(repeatedDesc, f.Counts[broker.Repeated])
	count(resetsDesc, f.Counts[broker.VersionResets])
	count(gapsDesc, f.Counts[broker.Gaps])
	count(repairsDesc, f.Counts[broker.Repairs])
	count(fetchFailDesc, f.Counts[broker.FetchFailures])
	count(brokenDesc, f.Counts[broker.Broken])
	oneIf := func(yes bool) float64 {
		if yes {
			return 1
		}
		return 0
	}
	for i, s := range f.Sources {
		gauge(feedUpDesc, oneIf(s.Connected), cmp.Or(s.Topics, "*"))
		gauge(currentDesc, oneIf(e.table.Feed(i).Up), cmp.Or(s.Topics, "*"))
		gauge(behindDesc, float64(s.Behind), cmp.Or(s.Topics, "*"))
		gauge(feedLagDesc, s.Lag.Seconds(), cmp.Or(s.Topics, "*"))
	}
	gauge(channelsDesc, float64(f.Channels))
	gauge(feedTopicsDesc, float64(f.Held))
}
