// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/backoffice"
	"tickedge/internal/broker"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
	"tickedge/internal/loop"
	"tickedge/internal/panics"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// outboxTopics is how many topics of each broker may wait while it is away: of 4 KiB each, 40 MB.
const outboxTopics = 10_000

// api names the settings of the back office in errors.
var apiErrors = []string{
	"api key file", "-api-key-file", "api TLS certificate", "-api-tls-cert and -api-tls-key", "api client authorities", "-api-client-ca",
	"api address", "-api", "api has", "-api",
}

// listenAPI binds the back office. What it publishes goes where the feed reads.
func (e *edge) listenAPI() (err error) {
	if e.cfg.api.Addr == "" {
		return nil
	}
	e.cfg.api.Names = e.cfg.adminNames
	if e.api, err = backoffice.Listen(e.cfg.api, e.log); err != nil {
		return app.ListenHint(err, "-api", e.cfg.api.Addr, "perhaps another edge: each needs a port of its own")
	}
	if e.outbox, err = feed.NewOutbox(e.work, e.cfg.feed(), e.log, outboxTopics); err == nil {
		e.working.Go(func() { panics.Keep(e.work, panics.Feed, e.log, e.outbox.Run) })
	}
	return err
}

// serveAPI opens the back office, behind all that it does its work with.
func (e *edge) serveAPI() error {
	if e.api == nil {
		return nil
	}
	e.working.Go(func() { panics.Keep(e.work, panics.Admin, e.log, e.control.listen) })
	e.working.Go(func() { panics.Keep(e.work, panics.Admin, e.log, e.control.speak) })
	e.api.Serve(desk{e})
	e.log.Info("back office open", "addr", e.api.Addr().String(), "tls", e.cfg.api.TLSCert != "")
	return nil
}

// listenControl has the control topic held, and heard, for as long as the edge runs.
func (e *edge) listenControl(now time.Time) error {
	if e.api == nil {
		return nil
	}
	// Whatever holds up this one topic holds up no values.
	outbox, err := feed.NewOutbox(e.work, e.cfg.feed().Of(controlTopic), e.log, 1)
	if err != nil {
		return err
	}
	e.working.Go(func() { panics.Keep(e.work, panics.Feed, e.log, outbox.Run) })
	e.control = newControl(e.log, now)
	e.control.field = e.cfg.versionField
	e.control.publish, e.control.do = outbox.Put, e.obey
	e.feed.Listen(controlTopic, e.control.hear)
	_, err = e.table.AcquireKnown([]byte(controlTopic), 0)
	return err
}

// obey does what another edge was asked.
func (e *edge) obey(ctx context.Context, c *command) {
	d, f := desk{e}, backoffice.Filter{User: c.User}
	var err error
	if c.Do == doAnnounce {
		_, _, err = d.Announce(ctx, f, c.Text)
	} else {
		_, err = d.Disconnect(ctx, f, backoffice.Bye{Code: c.Code, Reason: c.Reason, Retry: c.Retry})
	}
	if err != nil {
		e.log.Warn("what another edge told was not done, or not all", "do", c.Do, "id", c.ID, "user", c.User, "error", err)
	}
}

// desk is what the back office does its work with.
type desk struct{ *edge }

// Publish implements [backoffice.Edge].
func (d desk) Publish(t broker.Tick, done func(broker.Fate)) error {
	if err := checkNumbered(t.Value, d.cfg.versionField); err != nil {
		return err
	}
	return d.outbox.Put(t, done)
}

// checkNumbered returns what keeps edges with -tick-version-field from taking a value, which is not what its broker says.
func checkNumbered(value []byte, field string) error {
	if field == "" || broker.IsTombstone(string(value)) {
		return nil
	}
	if _, flaw := broker.InspectVersion(string(value), field); flaw == broker.NoVersion {
		return errors.New("the value is " + flaw.String())
	}
	return nil
}

func filterOf(f backoffice.Filter) loop.Filter {
	return loop.Filter{Conn: f.Conn, User: f.User, Address: f.Address, Topic: f.Topic}
}

// Conns implements [backoffice.Edge].
func (d desk) Conns(ctx context.Context, f backoffice.Filter, after string, n int) (all []backoffice.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, debugTimeout)
	defer cancel()
	found, err := d.server.Select(ctx, filterOf(f), after, n)
	now := time.Now()
	for _, c := range found {
		all = append(all, backoffice.Conn{
			ID: c.Conn, User: c.User, Address: c.Remote, State: c.State, Transport: c.Transport, Since: now.Add(-c.Age).Unix(),
			Topics: c.Topics, Window: c.Window.Milliseconds(), Backlog: c.Backlog,
		})
	}
	return all, err
}

// Disconnect implements [backoffice.Edge].
func (d desk) Disconnect(ctx context.Context, f backoffice.Filter, bye backoffice.Bye) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, debugTimeout)
	defer cancel()
	return d.server.Disconnect(ctx, filterOf(f), loop.Bye{Code: protocol.Code(bye.Code), Reason: bye.Reason, Retry: bye.Retry})
}

// TellDisconnect implements [backoffice.Edge].
func (d desk) TellDisconnect(user string, bye backoffice.Bye) (told <-chan struct{}, err error) {
	return d.control.tell(command{Do: doDisconnect, User: user, Code: bye.Code, Reason: bye.Reason, Retry: bye.Retry}, time.Now())
}

// Announce implements [backoffice.Edge].
func (d desk) Announce(ctx context.Context, f backoffice.Filter, text string) (sent, skipped int, err error) {
	ctx, cancel := context.WithTimeout(ctx, debugTimeout)
	defer cancel()
	return d.server.Announce(ctx, filterOf(f), text)
}

// TellAnnounce implements [backoffice.Edge].
func (d desk) TellAnnounce(user, text string) (told <-chan struct{}, err error) {
	return d.control.tell(command{Do: doAnnounce, User: user, Text: text}, time.Now())
}

// Topics implements [backoffice.Edge].
func (d desk) Topics(prefix string, n int) (top []backoffice.Topic, all int) {
	d.table.Subscribed(func(name string, subscribers int) {
		if strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, topics.Reserved) {
			top = append(top, backoffice.Topic{Name: name, Subscribers: subscribers})
		}
	})
	slices.SortFunc(top, func(a, b backoffice.Topic) int {
		return cmp.Or(cmp.Compare(b.Subscribers, a.Subscribers), strings.Compare(a.Name, b.Name))
	})
	return top[:min(n, len(top))], len(top)
}

// validateAPI looks at the flags of the back office.
func (c *Config) validateAPI() error {
	var errs problems
	switch {
	case c.api.Addr == "":
		return nil
	case !app.IsHostPort(c.api.Addr):
		errs.bad("-api is %s, want host:port such as 127.0.0.1:8082, or nothing", flags.Quote(c.api.Addr))
	case samePort(c.loop.Listen, c.api.Addr):
		errs.bad("-api is %s and -listen is %s: want another port for one of them", c.api.Addr, c.loop.Listen)
	case samePort(c.admin, c.api.Addr):
		errs.bad("-api is %s and -admin is %s: want another port for one of them", c.api.Addr, c.admin)
	default:
		errs.add(flags.Named(c.api.Validate(), apiErrors...))
	}
	return errors.Join(errs...)
}
