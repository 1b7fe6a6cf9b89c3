// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"cmp"
	"slices"

	"tickedge/internal/fanout"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/screen"
)

// screenName is what a screen of a query is called that names none.
var screenName = []byte("screen")

// hasScreen reports whether a query asks for a screen. Without a condition its patterns are subscribed as others are.
func hasScreen(q *httphead.Query) bool { return q.HasWhere || len(q.By) > 0 || q.Top > 0 }

// screenCommand is what a query asks for that has a screen.
func screenCommand(q *httphead.Query) *protocol.Command {
	cmd := &protocol.Command{Op: protocol.OpScreen, Topics: q.Topics, Screen: protocol.Screen{Name: q.Screen, Where: q.Where, By: q.By, Top: q.Top}}
	if len(cmd.Screen.Name) == 0 {
		cmd.Screen.Name = screenName
	}
	return cmd
}

// badScreen says what is wrong with the screen of a query, if anything is: a stream has no other way to be told of it.
func (l *loop) badScreen(asked *asked) *httphead.Refusal {
	if !hasScreen(&asked.Query) {
		return nil
	}
	rights, cmd := l.rights(asked.claims.User, asked.claims.Topics), screenCommand(&asked.Query)
	if _, e := fanout.ScreenSpec(cmd.Topics, &cmd.Screen, &rights); e != nil {
		return &httphead.Refusal{Status: screenStatus(e.Code), Reason: e.Reason}
	}
	return nil
}

// screenStatus is the status that goes with an error of a screen.
func screenStatus(code int) int {
	switch code {
	case protocol.ErrTooManyTopics, protocol.ErrBadTopic:
		return 400
	}
	return code
}

// wantsScreen reports whether a request for prices is one for the rows of a screen.
func wantsScreen(asked *asked) bool {
	return hasScreen(&asked.Query) || slices.ContainsFunc(asked.Topics, screen.IsPattern)
}

// screenPrices answers a request for the rows of a screen, or keeps it until they are known.
func (l *loop) screenPrices(c *conn, a *ask, asked *asked) {
	cmd := screenCommand(&asked.Query)
	a.screen = true
	if e := l.shard.WantScreen(c.id, cmd, l.rights(asked.claims.User, asked.claims.Topics)); e != nil {
		status := screenStatus(e.Code)
		header := ""
		if status == 429 {
			header = "Retry-After: 1\r\n"
		}
		l.problem(c, a, status, e.Code, e.Reason, header)
		return
	}
	l.answerOrKeep(c, a)
}

// tryScreen answers a request for the rows of a screen if it is ready, or it has waited for as long as it may.
func (l *loop) tryScreen(c *conn, a *ask, end bool) (answered bool) {
	late := end || !l.now.Before(a.fetchBy)
	piece := &l.asks.piece
	if !late && !l.shard.ScreenReady(c.id) {
		l.shard.Await(c.id, fetchLook)
		return false
	}
	l.shard.ScreenRows(c.id, priceBodyMax-len(protocol.PricesHead), piece)
	if piece.More {
		clear(piece.Rows)
		l.shard.GiveUp(c.id)
		l.problem(c, a, 413, 413, "the rows have no room in 1 MiB: name narrower patterns, or use top and by", "")
		return true
	}
	sights := l.asks.sights[:0]
	for _, row := range piece.Rows {
		sights = append(sights, fanout.Sight{Row: row})
	}
	clear(piece.Rows)
	defer clear(sights)
	l.asks.sights = sights
	rank(sights, piece.Order)
	l.asks.tag = l.tagOf(l.asks.tag[:0], a, sights)
	feedDown := !l.server.table.Health().Up
	if len(a.none) > 0 && httphead.ListsTag(a.none, l.asks.tag) {
		l.shard.GiveUp(c.id)
		l.unchanged(c, a, feedDown)
	} else {
		l.values(c, a, sights, feedDown)
	}
	return true
}

// rank sorts rows as their names are in order, or by their names.
func rank(sights []fanout.Sight, order []string) {
	if order == nil {
		slices.SortFunc(sights, func(a, b fanout.Sight) int { return bytes.Compare(a.Row.Topic(), b.Row.Topic()) })
		return
	}
	places := make(map[string]int, len(order))
	for i, name := range order {
		places[name] = i
	}
	slices.SortFunc(sights, func(a, b fanout.Sight) int {
		return cmp.Compare(places[string(a.Row.Topic())], places[string(b.Row.Topic())])
	})
}
