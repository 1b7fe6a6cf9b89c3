// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"time"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/fanout"
	"tickedge/internal/protocol"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
)

// screenOf carries out a screen command.
func (st *stream) screenOf(asked *pricesv1.Screen, now time.Time) *protocol.CommandError {
	if !topics.ValidName(asked.GetName()) {
		return &protocol.CommandError{Code: protocol.ErrBadTopic, Reason: "name is " + topics.NameRule}
	}
	patterns := make([][]byte, len(asked.GetTopics()))
	for i, p := range asked.GetTopics() {
		patterns[i] = []byte(p)
	}
	wanted := &protocol.Screen{Name: []byte(asked.GetName()), Where: []byte(asked.GetWhere()), Top: int(asked.GetTop()), By: []byte(asked.GetBy())}
	rights := fanout.Rights{Allowed: &st.caller.grant, User: st.caller.user, Private: st.server.cfg.Private}
	return st.screens.Ask(&st.set.limits, patterns, wanted, &rights, st.caller.prefix, now)
}

// dropScreens gives up screens: the one of a name, or all if that is empty.
func (st *stream) dropScreens(name string, now time.Time) {
	st.screens.Remove(st.set.limits.Screens, func(has string, _ *screen.Spec) bool { return name == "" || has == name }, now)
}

// gatherScreens queues what is new of screens, as much as one gather may have. flush is whether it is time for all of them. It reports
// whether there is more.
func (st *stream) gatherScreens(flush bool, now time.Time) (more bool) {
	if st.screens.Len() == 0 {
		return false
	}
	if flush {
		st.screens.Due()
	}
	for room := pieceMax; room > 0; {
		var p screen.Piece
		name, ok, _ := st.screens.Piece(&p, room, st.cursor.snapshots, st.cursor.prefix, now)
		if !ok {
			return false // What has to wait for the rate of its prefix is looked at in the next window.
		}
		m := &pricesv1.Screened{Ts: now.UnixMilli(), Name: name, Full: p.Full, More: p.More, Out: p.Out, Ordered: p.Order != nil, Order: p.Order}
		for _, row := range p.Rows {
			room -= rowFrame + len(row.JSON())
			m.Rows = append(m.Rows, rowOf(string(row.Topic()), row))
		}
		room--
		st.queue = append(st.queue, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Screen{Screen: m}})
	}
	return st.screens.More()
}
