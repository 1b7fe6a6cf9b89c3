// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	alertsv1 "tickedge/gen/tickedge/alerts/v1"
	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	pricesv1 "tickedge/gen/tickedge/prices/v1"
)

// A door is a way to names and values.
type door struct {
	// knock asks for names, of which the public one is the last. It returns all that was said, and the code with which each
	// name was refused.
	knock func(s *system, v *visitor, names []string) (said string, refused map[string]int)
	// lists is of a door that shows names by itself: nobody's private ones are among them, not even one's own.
	lists bool
}

// doors are all ways to values of the edge: what a new one is, has to stand here.
var doors = map[string]door{
	"/ws ?topics=": {knock: func(s *system, v *visitor, names []string) (string, map[string]int) {
		_, next := s.byWebSocket(v, "topics="+list(names))
		return follow(v, names, next)
	}},
	"/ws subscribe": {knock: func(s *system, v *visitor, names []string) (string, map[string]int) {
		ws, next := s.byWebSocket(v, "")
		cmd, err := json.Marshal(map[string]any{"op": "subscribe", "topics": names})
		if err == nil {
			err = ws.Write(s.Context(), websocket.MessageText, cmd)
		}
		if err != nil {
			s.Fatal(err)
		}
		return follow(v, names, next)
	}},
	"/sse": {knock: func(s *system, v *visitor, names []string) (string, map[string]int) {
		return follow(v, names, s.byEvents(v, names))
	}},
	"/prices?topics=": {knock: func(s *system, v *visitor, names []string) (string, map[string]int) {
		var g gist
		whole, refused, all := []string(nil), make(map[string]int), ""
		for _, name := range names { // A pattern makes of the request one of all that it matches, so it is asked for alone.
			if !strings.Contains(name, "*") {
				whole = append(whole, name)
				continue
			}
			code, said := s.get(v, s.addr, "/prices?topics="+list([]string{name}))
			refused[name] = code
			all += said
		}
		_, said := s.get(v, s.addr, "/prices?topics="+list(whole))
		_ = json.Unmarshal([]byte(said), &g) // What is none refuses nothing, which is seen.
		g.refusals(whole, refused)
		return all + said, refused
	}},
	"/prices/": {knock: byPath("/prices/")},
	"/price/":  {knock: byPath("/price/")},
	"/topics": {lists: true, knock: func(s *system, v *visitor, _ []string) (said string, _ map[string]int) {
		for _, query := range []string{"", "?prefix=alerts:", "?prefix=a&limit=1000", "?after=alerts:a", "?prefix=" + public} {
			_, page := s.get(v, s.addr, "/topics"+query)
			said += page
		}
		return said, nil
	}},
	"gRPC Stream": {knock: func(s *system, v *visitor, names []string) (string, map[string]int) {
		c, err := pricesv1.NewPricesClient(s.conn).Stream(v.context(s.Context()))
		if err == nil {
			err = c.Send(&pricesv1.StreamRequest{Command: &pricesv1.StreamRequest_Subscribe{Subscribe: &pricesv1.Subscribe{Topics: names}}})
		}
		if err != nil {
			s.Fatal(err)
		}
		refused, said := make(map[string]int), ""
		for !enough(v, names, said) { // Rows come behind the ack.
			m, err := c.Recv()
			if err != nil {
				return said + err.Error(), refused
			}
			for _, r := range m.GetAck().GetRejected() {
				refused[names[r.GetIndex()]] = int(r.GetCode())
			}
			said += m.String()
		}
		return said, refused
	}},
	"gRPC GetPrices": {knock: func(s *system, v *visitor, names []string) (string, map[string]int) {
		resp, err := pricesv1.NewPricesClient(s.conn).GetPrices(v.context(s.Context()), &pricesv1.GetPricesRequest{Topics: names})
		refused := make(map[string]int)
		for _, r := range resp.GetMissing() {
			refused[names[r.GetIndex()]] = int(r.GetCode())
		}
		return fmt.Sprint(resp, err), refused
	}},
	"gRPC ListTopics": {lists: true, knock: func(s *system, v *visitor, _ []string) (said string, _ map[string]int) {
		for _, ask := range []*pricesv1.ListTopicsRequest{{Limit: 1000}, {Prefix: "alerts:"}, {After: "alerts:a"}, {Prefix: "a"}} {
			resp, err := pricesv1.NewPricesClient(s.conn).ListTopics(v.context(s.Context()), ask)
			said += fmt.Sprint(resp, err)
		}
		return said, nil
	}},
}

// byPath asks for one name after the other.
func byPath(path string) func(*system, *visitor, []string) (string, map[string]int) {
	return func(s *system, v *visitor, names []string) (said string, refused map[string]int) {
		refused = make(map[string]int)
		for _, name := range names {
			code, text := s.get(v, s.addr, path+url.PathEscape(name))
			if said += text; code != 200 {
				refused[name] = code
			}
		}
		return said, refused
	}
}

// others are names of odd that are not private: everybody may have them, and there is nothing. A star stands for all that are not.
var others = []string{"*", "?", "alerts%3Aann", "Alerts:ann"}

// tryDoors has a visitor knock at all doors of the edge.
func (s *system) tryDoors(v *visitor) {
	s.Helper()
	var names []string
	for _, sub := range subs {
		names = append(names, nameOf(sub))
	}
	names = append(append(names, odd...), public)
	for name, d := range doors {
		said, refused := d.knock(s, v, names)
		if !strings.Contains(said, public) {
			s.Errorf("%s, %s: not even the public name: %s", name, v, said)
		}
		for _, sub := range subs {
			own, got := sub == v.sub, strings.Contains(said, secretOf(sub))
			switch code := refused[nameOf(sub)]; {
			case d.lists:
				if got || strings.Contains(said, nameOf(sub)) {
					s.Errorf("%s, %s: the name or value of %.20q is listed: %s", name, v, sub, said)
				}
			case own && (!got || code != 0):
				s.Errorf("%s, %s: has not what is its own (%d): %s", name, v, code, said)
			case !own && (got || code != 403):
				s.Errorf("%s, %s: has what is of %.20q, or is not refused (%d): %s", name, v, sub, code, said)
			}
		}
		for _, other := range odd {
			if code := refused[other]; !d.lists && (code < 400 || code > 499) && !slices.Contains(others, other) {
				s.Errorf("%s, %s: %q is answered with %d", name, v, other, code)
			}
		}
	}
}

// tryOffice has a visitor call the back office, which is not for users.
func (s *system) tryOffice(v *visitor) {
	s.Helper()
	for _, target := range []string{"/topics", "/topics?prefix=alerts:", "/conns", "/conns?topic=alerts:ann"} {
		if code, said := s.get(v, s.api, target); code != 401 && code != 429 || strings.Contains(said, "alerts:") {
			s.Errorf("%s, %s: %d %s", target, v, code, said)
		}
	}
	for _, ask := range []*backofficev1.ListConnsRequest{{}, {Topic: "alerts:ann"}} {
		resp, err := backofficev1.NewBackOfficeClient(s.conn).ListConns(v.context(s.Context()), ask)
		if code := status.Code(err); code != codes.Unauthenticated && code != codes.ResourceExhausted {
			s.Errorf("%s: %v %v", v, resp, err)
		}
	}
}

// tryAlerts has a user ask for alerts of others, by their users and by their ids.
func (s *system) tryAlerts(v *visitor) {
	s.Helper()
	rest := func(target string) string { _, said := ask(s.alerts, v, target); return said }
	c, ctx := s.alertsClient(), v.context(s.Context())
	for i, sub := range subs {
		id, user := s.ids[sub], url.QueryEscape(sub)
		answers := map[string]string{
			"/alerts":        rest("/alerts?user_id=" + user),
			"/alerts/fired":  rest("/alerts/fired?user_id=" + user),
			"/alerts/ID":     rest(fmt.Sprintf("/alerts/%d", id)),
			"/alerts/ID of":  rest(fmt.Sprintf("/alerts/%d?user_id=%s", id, user)),
			"gRPC GetAlert":  said(c.GetAlert(ctx, &alertsv1.GetAlertRequest{Id: id})),
			"gRPC GetAlert2": said(c.GetAlert(ctx, &alertsv1.GetAlertRequest{Id: id, UserId: sub})),
			"gRPC List":      said(c.ListAlerts(ctx, &alertsv1.ListAlertsRequest{UserId: sub})),
			"gRPC ListFired": said(c.ListFired(ctx, &alertsv1.ListFiredRequest{UserId: sub})),
		}
		for name, text := range answers {
			has := strings.Contains(text, secretOf(sub)) || strings.Contains(text, priceOf(i))
			if has != (sub == v.sub) {
				s.Errorf("%s, %s asks for %.20q: %s", name, v, sub, text)
			}
		}
	}
	// Whose they are is not said: they are one's own, whatever else is asked for.
	all := map[string]string{
		"/alerts": rest("/alerts?limit=1000"), "/alerts/fired": rest("/alerts/fired?limit=1000"), "no user": rest("/alerts?user_id=&limit=1000"),
		"a star": rest("/alerts?user_id=*"), "gRPC ListAlerts": said(c.ListAlerts(ctx, &alertsv1.ListAlertsRequest{Limit: 1000})),
		"gRPC ListFired": said(c.ListFired(ctx, &alertsv1.ListFiredRequest{Limit: 1000})),
	}
	for name, text := range all {
		for i, sub := range subs {
			if sub != v.sub && (strings.Contains(text, secretOf(sub)) || strings.Contains(text, priceOf(i))) {
				s.Errorf("%s, %s: %s", name, v, text)
			}
		}
	}
}

func said(resp fmt.Stringer, err error) string { return fmt.Sprint(resp, err) }

// tryHistory has a visitor ask for what was of names.
func (s *system) tryHistory(v *visitor) {
	s.Helper()
	for _, sub := range subs {
		if code, said := ask(s.history, v, "/history/"+url.PathEscape(nameOf(sub))+"?tf=1m"); code == 200 || strings.Contains(said, secretOf(sub)) {
			s.Errorf("%s, %.20q: %d %s", v, sub, code, said)
		}
	}
	if code, said := ask(s.history, v, "/history/"+public+"?tf=1m"); code != 200 && v.claim == nil {
		s.Errorf("%s: %d %s", v, code, said)
	}
}

// Nobody gets the alerts of another user, at no door, whatever its name and its rights are.
func TestNobodyGetsAlertsOfOthers(t *testing.T) {
	open := startSystem(t) // It asks for no tokens, so nobody has a private name.
	open.hold(nil, new(visitor))
	open.tryDoors(new(visitor))
	open.tryOffice(new(visitor))

	t.Setenv(secretEnv, aSecret)
	s := startSystem(t)
	s.startAlerts()
	s.startHistory()
	s.hold(subs, visit(t, "ann", nil))
	for _, claim := range []any{nil, []string{"*"}, []string{"alerts:*", "PUB*"}, []string{public}} {
		for i, sub := range subs {
			if claim != nil && i%3 != 0 { // The rest is the same by then.
				continue
			}
			v := visit(t, sub, claim)
			s.tryDoors(v)
			s.tryHistory(v)
			if claim == nil {
				s.tryAlerts(v)
			}
		}
	}
	s.tryOffice(visit(t, "ann", []string{"*"}))
	s.tryOffice(visit(t, "desk", nil)) // As the one who has the key is called.
	s.tryOffice(new(visitor))
	for _, nobody := range []*visitor{new(visitor), visit(t, "", nil), visit(t, strings.Repeat("v", 256), nil)} {
		s.refused(nobody)
	}
}

// refused checks that who is no user has nothing.
func (s *system) refused(v *visitor) {
	s.Helper()
	name := nameOf("ann")
	for _, target := range []string{"/prices?topics=" + name, "/price/" + name, "/topics", "/sse?topics=" + name, "/ws?topics=" + name} {
		if code, said := s.get(v, s.addr, target); code != 401 && code != 429 && !strings.HasPrefix(target, "/ws") || strings.Contains(said, secretOf("ann")) {
			s.Errorf("%s, %s: %d %s", target, v, code, said)
		}
	}
	_, err := pricesv1.NewPricesClient(s.conn).GetPrices(v.context(s.Context()), &pricesv1.GetPricesRequest{Topics: []string{name}})
	_, other := s.alertsClient().ListAlerts(v.context(s.Context()), &alertsv1.ListAlertsRequest{})
	for _, err := range []error{err, other} {
		if code := status.Code(err); code != codes.Unauthenticated && code != codes.ResourceExhausted {
			s.Errorf("%s: %v", v, errors.Join(err))
		}
	}
	for _, target := range []string{"/alerts", "/alerts/fired?user_id=ann"} {
		if code, said := ask(s.alerts, v, target); code != 401 && code != 429 {
			s.Errorf("%s, %s: %d %s", target, v, code, said)
		}
	}
}
